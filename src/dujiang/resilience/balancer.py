"""Choosing among targets that can serve the same call."""

from collections.abc import Sequence
from typing import Protocol, TypeVar


class Loaded(Protocol):
    """Something with a weight and a number of calls in flight."""

    weight: float
    in_flight: int


T = TypeVar("T", bound=Loaded)


def least_loaded(targets: Sequence[T], start: int) -> T:
    """The target that would be the least loaded for its weight after taking one more call; ties go round by `start`.

    Without load this serves in proportion to weight only as calls overlap; a lone caller goes round equals.
    """
    count = len(targets)
    best = targets[start % count]
    least = (best.in_flight + 1) / best.weight
    for n in range(start + 1, start + count):
        target = targets[n % count]
        load = (target.in_flight + 1) / target.weight
        if load < least:
            best, least = target, load
    return best
