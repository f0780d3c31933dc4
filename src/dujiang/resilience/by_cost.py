"""The strategy that looks at what targets cost."""

from collections.abc import Iterable, Sequence
from decimal import Decimal
from math import inf
from typing import Generic, TypeVar

from dujiang.core.chat import Usage
from dujiang.core.money import Price
from dujiang.resilience.candidate import Candidate
from dujiang.resilience.slow_start import SlowStart

T = TypeVar("T", bound=Candidate)

TYPICAL_USE = Usage(800_000, 0, 0, 200_000, 0)
"""What prices are compared by: four tokens in for one out, so many that nothing is lost by rounding."""


class ByCost(Generic[T]):
    """The cheapest whose price is known; among equals the fewest calls in flight for its weight; unpriced ones last.

    A target that is coming back takes part in the share of choices that its slow start allows. Whose price is not among
    those of `targets` counts as unpriced.
    """

    __slots__ = ("_prices", "_slow_start")

    def __init__(self, targets: Iterable[T], slow_start: SlowStart) -> None:
        self._prices = {target: typical_micros(target.price) for target in targets}
        self._slow_start = slow_start

    def choose(self, candidates: Sequence[T], key: str | None = None) -> T:
        prices = self._prices
        chosen = candidates[0]
        best = (True, inf, inf)
        for target in candidates:
            load = target.load
            is_held = load.restored_at is not None and self._is_held(target, load.restored_at)
            rank = (is_held, prices.get(target, inf), load.in_flight / target.weight)
            if rank < best:
                chosen, best = target, rank
        return chosen

    def _is_held(self, target: T, restored_at: float) -> bool:
        """Whether it sits this choice out: it takes part each time that its shares add up to one."""
        target.credit += self._slow_start.ratio(target.load, restored_at)
        if target.credit < 1.0:
            return True
        target.credit = min(target.credit - 1.0, 1.0)
        return False


def typical_micros(price: Price) -> float:
    """What a typical use costs, in millionths of the currency of account; infinite when the price is not known."""
    cost = price(TYPICAL_USE)
    return inf if cost is None else float(cost.amount_micros * Decimal(cost.exchange.rate))
