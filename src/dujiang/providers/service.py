"""What a compiled provider offers: ways to ask for a model."""

from collections.abc import Awaitable, Callable, Mapping

from msgspec import Struct

from dujiang import __version__
from dujiang.core.protocols import Handler
from dujiang.providers.clocks import Clocks

Probe = Callable[[float], Awaitable[None]]
"""Asks whether a service lets a credential in, for free, in at most so many seconds. Raises `UpstreamError`."""


class Endpoint(Struct, frozen=True):
    """One way to ask a provider for a model: under a credential, with its share of the calls.

    `probe` asks without a call, None where the vendor has nothing that costs nothing.
    """

    credential: str
    weight: float
    open: Handler
    probe: Probe | None = None


class Service:
    """One provider. `missing` says what an operator must do before it can be asked; it is then never asked.

    `unusable` tells of each credential that cannot be sent why, by its name; the others are used. `made_of` is all that
    it was compiled from: what is made of the same is the same service, with its connections and tokens.
    """

    def __init__(self, name: str, missing: str = "") -> None:
        self.name = name
        self.missing = missing
        self.unusable: Mapping[str, str] = {}
        self.made_of: object = None

    def endpoints(self, model: str, clocks: Clocks) -> tuple[Endpoint, ...]:
        """The ways to ask for a vendor's model."""
        return ()

    def close(self) -> None:
        """Close idle connections; those in use close when their answers end."""


def request_fields(secret: str) -> dict[str, str]:
    """The header fields of every request to a service, with its bearer where it wants one."""
    fields = {
        "Content-Type": "application/json",
        "Accept": "application/json, text/event-stream",
        "Accept-Encoding": "identity",
        "User-Agent": f"dujiang/{__version__}",
    }
    if secret:
        fields["Authorization"] = f"Bearer {secret}"
    return fields
