"""What a call cost, as both formats show it."""

from msgspec import Struct

from dujiang.core.call import Call


class Cost(Struct, frozen=True):
    """`amount` is in units of the currency."""

    amount: float
    currency: str


def cost_of(call: Call) -> Cost | None:
    """The sum of the attempts' known costs; None when no price, or no usage, was known."""
    known = [attempt for attempt in call.attempts if attempt.cost_micros is not None]
    if not known:
        return None
    return Cost(sum(attempt.cost_micros or 0 for attempt in known) / 1_000_000, known[-1].currency or "")
