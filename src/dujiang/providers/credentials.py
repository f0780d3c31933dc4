"""The credentials of a provider as they are sent: references followed, stored secrets revealed."""

from collections.abc import Callable, Mapping

from msgspec import Struct

from dujiang.core.binding import Binding
from dujiang.core.errors import Misconfigured
from dujiang.core.secret import Secret, stored_name
from dujiang.providers.binding import binding_of
from dujiang.providers.settings import ProviderSettings

Reveal = Callable[[str, Binding], Secret]
"""A stored secret, by its name and by whom it goes to. Raises `Misconfigured` where it may not go there."""


class Sendable(Struct, frozen=True):
    """`secrets` and their weights, and of the `unusable` ones why, both by the credential's name. Empty ones are in
    neither.
    """

    secrets: Mapping[str, tuple[str, float]]
    unusable: Mapping[str, str]


def sendable_credentials(
    settings: ProviderSettings, address: str, expand: Callable[[str], str], reveal: Reveal
) -> Sendable:
    """What a provider at `address`, which is expanded, can be sent. A stored secret is itself never expanded."""
    secrets: dict[str, tuple[str, float]] = {}
    unusable: dict[str, str] = {}
    for credential in settings.credentials:
        written = credential.secret.reveal()
        stored = stored_name(written)
        try:
            text = expand(written) if stored is None else _revealed(stored, settings.kind, address, reveal)
        except Misconfigured as error:
            unusable[credential.name] = error.message
            continue
        if text:
            secrets[credential.name] = (text, credential.weight)
    return Sendable(secrets, unusable)


def _revealed(name: str, kind: str, address: str, reveal: Reveal) -> str:
    try:
        binding = binding_of(kind, address)
    except ValueError as error:
        raise Misconfigured(f"The secret `{name}` cannot be used: {error}.") from None
    return reveal(name, binding).reveal()
