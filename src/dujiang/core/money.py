"""Money, and what a price is to those who only ask what something cost."""

from collections.abc import Callable

from msgspec import Struct

from dujiang.core.chat import Usage


class Cost(Struct, frozen=True):
    """An amount in millionths of a currency, and which price it was reckoned by."""

    amount_micros: int
    currency: str
    price_version: str


Price = Callable[[Usage], Cost | None]
"""What a use of a model costs; None when the price is not known, which is never the same as nothing."""


def unpriced(_: Usage) -> Cost | None:
    """The price of a model that has none."""
    return None
