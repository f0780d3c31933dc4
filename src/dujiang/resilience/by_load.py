"""Strategies that look at weight and at calls in flight."""

from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from dujiang.resilience.candidate import Candidate
from dujiang.resilience.slow_start import SlowStart

T = TypeVar("T", bound=Candidate)

FEW = 3
"""So many targets are all compared; of more, two."""


class Weighted(Generic[T]):
    """Each in turn by its weight, whatever it is doing: nginx's smooth weighted round robin.

    Everyone gains its weight, the richest is chosen and pays the sum, so that a heavy target's turns are spread and
    not in a row.
    """

    __slots__ = ("_slow_start",)

    def __init__(self, slow_start: SlowStart) -> None:
        self._slow_start = slow_start

    def choose(self, candidates: Sequence[T], key: str | None = None) -> T:
        """Whose turn it is."""
        chosen = candidates[0]
        total = 0.0
        for target in candidates:
            weight = target.weight if target.load.restored_at is None else self._slow_start.weight(target)
            target.credit += weight
            total += weight
            if target.credit > chosen.credit:
                chosen = target
        chosen.credit -= total
        return chosen


class Pairs(Generic[T]):
    """The two choices among many: whose turn it is, and another drawn by weight.

    Mitzenmacher, *The Power of Two Choices in Randomized Load Balancing* (2001): the better of two comes close to the
    best of all, and processes that do not know of each other do not all run to the same target. That the first choice
    is a turn and not a draw makes idle targets be asked exactly by weight. `random` draws from [0, 1).
    """

    __slots__ = ("_random", "_slow_start", "_turns")

    def __init__(self, slow_start: SlowStart, random: Callable[[], float]) -> None:
        self._slow_start = slow_start
        self._turns = Weighted[T](slow_start)
        self._random = random

    def draw(self, candidates: Sequence[T]) -> tuple[T, T]:
        """Two different ones of two or more, the first of them the one whose turn it is."""
        first = self._turns.choose(candidates)
        others = [target for target in candidates if target is not first]
        weight = self._slow_start.weight
        left = self._random() * sum(map(weight, others))
        for target in others:
            left -= weight(target)
            if left < 0:
                return first, target
        return first, others[-1]


class LeastLoaded(Generic[T]):
    """The fewest calls in flight for its weight; among equals, each in turn by its weight.

    Up to three targets are all compared. Of more, two are: see `Pairs`.
    """

    __slots__ = ("_pairs", "_slow_start")

    def __init__(self, slow_start: SlowStart, random: Callable[[], float]) -> None:
        self._slow_start = slow_start
        self._pairs = Pairs[T](slow_start, random)

    def choose(self, candidates: Sequence[T], key: str | None = None) -> T:
        if len(candidates) > FEW:
            first, second = self._pairs.draw(candidates)
            return second if self._load(second) < self._load(first) else first
        return self._least(candidates)

    def _least(self, candidates: Sequence[T]) -> T:
        """The least loaded of all; who is as loaded as the least takes part in the turns."""
        least = -1.0
        total = 0.0
        equals: list[tuple[T, float]] = []
        for target in candidates:
            load = target.load
            weight = target.weight if load.restored_at is None else self._slow_start.weight(target)
            relative = load.in_flight / weight
            if relative < least or not equals:
                least = relative
                total = weight
                equals = [(target, weight)]
            elif relative == least:
                total += weight
                equals.append((target, weight))
        chosen = equals[0][0]
        for target, weight in equals:
            target.credit += weight
            if target.credit > chosen.credit:
                chosen = target
        chosen.credit -= total
        return chosen

    def _load(self, target: T) -> float:
        return target.load.in_flight / self._slow_start.weight(target)
