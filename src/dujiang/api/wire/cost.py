"""What a call cost, as both formats show it."""

from msgspec import Struct

from dujiang.core.call import Call
from dujiang.core.money import total


class Cost(Struct, frozen=True):
    """`amount` is in units of the currency."""

    amount: float
    currency: str


def cost_of(call: Call) -> Cost | None:
    """The sum of the attempts' known costs; None when no price, or no usage, was known."""
    cost = total(attempt.cost for attempt in call.attempts)
    return Cost(cost.amount_micros / 1_000_000, cost.currency) if cost is not None else None
