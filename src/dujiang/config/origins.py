"""What a document that comes over the network may not do: read the environment, or send what is in it elsewhere.

A reference to the environment belongs to the kind and the origin that it was declared for, as a stored secret does.
"""

from collections.abc import Collection, Iterator, Mapping

from msgspec import Struct

from dujiang.config.author import Author
from dujiang.config.checked import Checked
from dujiang.config.environment import UnresolvedReference, expand, names_in
from dujiang.config.settings import AlertSettings
from dujiang.config.stored import ALERTS
from dujiang.core.binding import Binding
from dujiang.core.errors import Forbidden
from dujiang.core.problem import Problem, at
from dujiang.providers.binding import binding_of
from dujiang.providers.settings import ProviderSettings


class Origins(Struct, frozen=True):
    """What is known of the machine: the environment, and the variables that documents over the network may name."""

    environ: Mapping[str, str]
    allowed: Collection[str]

    def problems(self, before: Checked, after: Checked) -> Iterator[Problem]:
        """Every text that may not be where it is."""
        known = before.document.providers
        for name, provider in after.document.providers.items():
            if known.get(name) is not provider:
                path = at("providers", name)
                yield from (problem.under(path) for problem in self._of_provider(provider, known.get(name)))
        if before.document.alerts is not after.document.alerts:
            now, then = after.document.alerts, before.document.alerts
            yield from (problem.under(ALERTS) for problem in self._of_alerts(now, then))

    def binding(self, provider: ProviderSettings) -> Binding | None:
        """To whom a provider's secrets go; None where its address is none, or is not known yet."""
        return self._bound(provider.kind, provider.base_url)

    def alerts_binding(self, alerts: AlertSettings) -> Binding | None:
        return self._bound(ALERTS, alerts.url) if alerts.url else None

    def _bound(self, kind: str, address: str) -> Binding | None:
        try:
            return binding_of(kind, expand(address, self.environ))
        except (UnresolvedReference, ValueError):
            return None

    def _of_provider(self, provider: ProviderSettings, known: ProviderSettings | None) -> Iterator[Problem]:
        is_same_place = known is not None and self.binding(known) == self.binding(provider)
        known_address = known.base_url if known is not None and known.kind == provider.kind else ""
        yield from self._of_text(provider.base_url, {known_address}, "base_url")
        kept = (
            {each.secret.reveal() for each in known.credentials} if known is not None and is_same_place else set[str]()
        )
        for n, credential in enumerate(provider.credentials):
            path = at("credentials", n) + ".secret"
            yield from self._of_text(credential.secret.reveal(), kept, path)

    def _of_alerts(self, alerts: AlertSettings, known: AlertSettings) -> Iterator[Problem]:
        is_same_place = self.alerts_binding(alerts) == self.alerts_binding(known)
        yield from self._of_text(alerts.url, {known.url}, "url")
        kept = {known.secret.reveal()} if is_same_place else ()
        yield from self._of_text(alerts.secret.reveal(), kept, "secret")

    def _of_text(self, text: str, kept: Collection[str], path: str) -> Iterator[Problem]:
        if text in kept:
            return
        for name in names_in(text):
            if name not in self.allowed:
                yield Problem(path, f"may not read `{name}`: it is not in DUJIANG_ENV_ALLOW")


def require_privileges(author: Author, before: Checked, after: Checked) -> None:
    """Raises `Forbidden` where a provider reaches into the private network, or into the file system, anew."""
    if author.is_operator or author.is_unlimited:
        return
    for name, provider in after.document.providers.items():
        known = before.document.providers.get(name)
        path = at("providers", name)
        if provider.allow_private_network and not _was_private(known, provider):
            raise _reserved(f"{path}.allow_private_network")
        if (provider.model_file or "").startswith("/") and (known is None or known.model_file != provider.model_file):
            raise _reserved(f"{path}.model_file")
    alerts, known_alerts = after.document.alerts, before.document.alerts
    if alerts.allow_private_network and not (known_alerts.allow_private_network and known_alerts.url == alerts.url):
        raise _reserved(f"{ALERTS}.allow_private_network")


def _was_private(known: ProviderSettings | None, provider: ProviderSettings) -> bool:
    if known is None or not known.allow_private_network:
        return False
    return (known.kind, known.base_url) == (provider.kind, provider.base_url)


def _reserved(path: str) -> Forbidden:
    return Forbidden(f"`{path}` needs the permission `*`.", reason="permission", param=path)
