"""The clocks of an attempt."""

from msgspec import Struct


class Clocks(Struct, frozen=True):
    """Seconds that an attempt may take; the last two hold for streams only, and count tokens, not bytes."""

    connect_s: float
    total_s: float
    first_token_s: float
    idle_s: float
