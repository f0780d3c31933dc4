"""To whom a stored secret may be sent."""

from msgspec import Struct


class Binding(Struct, frozen=True):
    """The kind of a provider, and its origin as `scheme://host:port`: what stands in for an address that has no port
    of its own has the scheme's, and a kind with several addresses names them all.
    """

    kind: str
    origin: str
