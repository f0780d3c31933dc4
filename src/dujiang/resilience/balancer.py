"""Choosing among targets that can serve the same call."""

from collections.abc import Sequence
from typing import Protocol, TypeVar


class Load(Protocol):
    """How many calls something serves now."""

    in_flight: int


class Loaded(Protocol):
    """Something with a weight, a load, and the credit of its turn."""

    weight: float
    credit: float

    @property
    def load(self) -> Load: ...


T = TypeVar("T", bound=Loaded)


def least_loaded(targets: Sequence[T]) -> T:
    """The target with the fewest calls in flight for its weight; among equals, each in turn by its weight.

    The turns are nginx's smooth weighted round-robin: everyone gains its weight, the richest is chosen and pays the
    sum, so that a heavy target's turns are spread and not in a row.
    """
    least = min(target.load.in_flight / target.weight for target in targets)
    chosen: T | None = None
    total = 0.0
    for target in targets:
        if target.load.in_flight / target.weight > least:
            continue
        target.credit += target.weight
        total += target.weight
        if chosen is None or target.credit > chosen.credit:
            chosen = target
    if chosen is None:
        raise ValueError("there is no target to choose from")
    chosen.credit -= total
    return chosen
