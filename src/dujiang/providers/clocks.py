"""The clocks of an attempt."""

from msgspec import Struct


class Clocks(Struct, frozen=True):
    """Seconds that an attempt may take. The last three hold for streams only, and count tokens, not bytes.

    `min_tokens_per_s` is how many must come on average over any 10 seconds from the first one on; None: any number.
    """

    connect_s: float
    total_s: float
    first_token_s: float
    idle_s: float
    min_tokens_per_s: float | None = None
