"""Whether the providers of a document can be reached as they are declared: kinds, addresses, credentials."""

from collections.abc import Iterator, Mapping
from urllib.parse import urlsplit

from dujiang.config.environment import UnresolvedReference, expand, has_reference, is_malformed
from dujiang.config.scalars import nearest
from dujiang.config.settings import AlertSettings, Sections
from dujiang.core.problem import Problem, at
from dujiang.core.secret import Secret, stored_name
from dujiang.providers.address import check_base_url, refuse_address, refuse_host, split_url
from dujiang.providers.ernie.credentials import WrongCredential, read_credential
from dujiang.providers.settings import CredentialSettings, ProviderSettings

Environ = Mapping[str, str] | None
"""The variables that references may read; None when they are not known yet, and whatever needs them is not checked."""


def upstream_problems(sections: Sections, known_kinds: frozenset[str], environ: Environ) -> Iterator[Problem]:
    for name, provider in sections.providers.items():
        path = at("providers", name)
        if provider.kind not in known_kinds:
            yield Problem(f"{path}.kind", f"there is no kind `{provider.kind}`{nearest(provider.kind, known_kinds)}")
        elif provider.kind == "local":
            yield from (problem.under(path) for problem in _local_problems(provider))
        else:
            yield from (problem.under(path) for problem in _remote_problems(provider, environ))
    yield from _alert_problems(sections.alerts, environ)


def usable_credentials(provider: ProviderSettings, environ: Mapping[str, str]) -> tuple[CredentialSettings, ...]:
    """The credentials of a provider that can be sent, their secrets expanded: empty and stored ones are left out."""
    found = ((each, _resolved(each.secret.reveal(), environ)) for each in provider.credentials)
    return tuple(
        CredentialSettings(name=each.name, secret=Secret(text), weight=each.weight) for each, text in found if text
    )


def is_configured(provider: ProviderSettings, environ: Mapping[str, str]) -> bool:
    """Whether a provider can be called as far as the environment tells: it wants no credential, or has one that can
    be sent, or one that is stored.
    """
    has_stored = any(stored_name(each.secret.reveal()) for each in provider.credentials)
    return not provider.credentials or has_stored or bool(usable_credentials(provider, environ))


def _resolved(text: str, environ: Environ) -> str | None:
    """The secret that is sent; None where it is not known: a stored one, a reference that leads nowhere."""
    return None if stored_name(text) else _expanded(text, environ)


def _expanded(text: str, environ: Environ) -> str | None:
    if is_malformed(text) or (environ is None and has_reference(text)):
        return None
    try:
        return expand(text, environ or {})
    except UnresolvedReference:
        return None


def _local_problems(provider: ProviderSettings) -> Iterator[Problem]:
    if provider.base_url:
        yield Problem("base_url", "the embedded model has no address")
    if provider.credentials:
        yield Problem("credentials", "the embedded model takes no credentials")


def _remote_problems(provider: ProviderSettings, environ: Environ) -> Iterator[Problem]:
    if provider.model_file is not None:
        yield Problem("model_file", "only providers of kind `local` have a model file")
    yield from _address_problems(provider, environ)
    names: set[str] = set()
    for n, credential in enumerate(provider.credentials):
        path = at("credentials", n)
        if credential.name in names:
            yield Problem(f"{path}.name", f"`{credential.name}` is there twice")
        names.add(credential.name)
        reason = _bad_credential(provider.kind, _resolved(credential.secret.reveal(), environ))
        if reason:
            yield Problem(f"{path}.secret", reason)


def _address_problems(provider: ProviderSettings, environ: Environ) -> Iterator[Problem]:
    url = _expanded(provider.base_url, environ)
    if not url:
        return
    try:
        (check_base_url if provider.allow_private_network else refuse_address)(url)
    except ValueError as error:
        yield Problem("base_url", str(error))
        return
    if provider.kind == "ernie" and urlsplit(url).path.strip("/"):
        yield Problem("base_url", "must be scheme and host only: ERNIE's paths are known")


def _bad_credential(kind: str, text: str | None) -> str | None:
    if not text:
        return None
    if not (text.isascii() and text.isprintable() and " " not in text):
        return "must be printable ASCII without spaces (a line break at the end counts)"
    if kind == "ernie":
        try:
            read_credential(text)
        except WrongCredential as error:
            return str(error)
    return None


def _alert_problems(alerts: AlertSettings, environ: Environ) -> Iterator[Problem]:
    url = _expanded(alerts.url, environ)
    if not url:
        return
    try:
        host = split_url(url).hostname or ""
        if "#" in url:
            raise ValueError("must not hold a fragment")
        refuse_host(host, may_be_private=alerts.allow_private_network)
    except ValueError as error:
        yield Problem("alerts.url", str(error))
