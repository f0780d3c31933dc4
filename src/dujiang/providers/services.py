"""Compiling the configured providers into services."""

from collections.abc import Callable, Mapping
from types import MappingProxyType

from dujiang.providers.connect import origin_of
from dujiang.providers.credentials import Reveal, Sendable, sendable_credentials
from dujiang.providers.embedded.cache import explain_missing
from dujiang.providers.ernie.credentials import WrongCredential
from dujiang.providers.ernie.service import ErnieService
from dujiang.providers.local import Embedded, EmbeddedService
from dujiang.providers.openai_compatible import RemoteService
from dujiang.providers.presets import PRESETS
from dujiang.providers.service import Service
from dujiang.providers.settings import ProviderSettings


def open_services(
    providers: Mapping[str, ProviderSettings],
    expand: Callable[[str], str],
    reveal: Reveal,
    embedded: Mapping[str, Embedded],
    before: Mapping[str, Service] = MappingProxyType({}),
) -> dict[str, Service]:
    """Compile every provider. `expand` replaces `${NAME}`, `reveal` gives stored secrets, `embedded` tells where
    embedded models listen. A service of `before` that would be made of the same again is taken over.
    """
    return {
        name: _open_local(name, settings, embedded.get(name), before.get(name))
        if settings.kind == "local"
        else _open(name, settings, expand, reveal, before.get(name))
        for name, settings in providers.items()
    }


def _open_local(name: str, settings: ProviderSettings, embedded: Embedded | None, before: Service | None) -> Service:
    made_of = (settings.model_file, embedded)
    if before is not None and before.made_of == made_of:
        return before
    if embedded is None:
        service = Service(name, explain_missing(settings.model_file or "default"))
    else:
        service = EmbeddedService(name, embedded)
    service.made_of = made_of
    return service


def _open(
    name: str, settings: ProviderSettings, expand: Callable[[str], str], reveal: Reveal, before: Service | None
) -> Service:
    address = expand(settings.base_url).rstrip("/")
    found = sendable_credentials(settings, address, expand, reveal)
    made_of = (settings.kind, address, settings.allow_private_network, bool(settings.credentials), found)
    if before is not None and before.made_of == made_of:
        return before
    service = _open_remote(name, settings, address, found)
    service.unusable = found.unusable
    service.made_of = made_of
    return service


def _open_remote(name: str, settings: ProviderSettings, address: str, found: Sendable) -> Service:
    if not found.secrets and (settings.credentials or settings.kind == "ernie"):
        return Service(name, _nothing_to_send(name, found.unusable))
    may_be_private = settings.allow_private_network
    if settings.kind == "ernie":
        try:
            return ErnieService(name, address, found.secrets, may_be_private=may_be_private)
        except WrongCredential as error:
            return Service(name, f"The credential of the provider {name} is of the wrong kind. {error}")
    preset = PRESETS[settings.kind]
    base_url = address or preset.base_url
    origin = origin_of(base_url, allow_private_network=may_be_private or (preset.is_self_hosted and not address))
    return RemoteService(name, base_url, origin, preset, found.secrets or {"": ("", 1.0)})


def _nothing_to_send(name: str, unusable: Mapping[str, str]) -> str:
    if unusable:
        return f"The provider {name} has no usable credential. {' '.join(dict.fromkeys(unusable.values()))}"
    return f"The provider {name} has no credential: give it one in `providers.{name}.credentials`."
