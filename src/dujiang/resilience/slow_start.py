"""A target that comes back is given its share little by little, for it may be cold, or come back ill."""

from collections.abc import Callable
from typing import Protocol

from dujiang.resilience.candidate import RecoveringLoad

RAMP_S = 30.0
FLOOR_RATIO = 0.1


class Recovering(Protocol):
    """Something with a weight that may have been away."""

    @property
    def weight(self) -> float: ...

    @property
    def load(self) -> RecoveringLoad: ...


class SlowStart:
    """From a tenth of its weight when a target is restored to all of it `ramp_s` later, in a straight line.

    `clock` is monotonic, in seconds, the one that `restored_at` was read from.
    """

    __slots__ = ("_clock", "_ramp_s")

    def __init__(self, clock: Callable[[], float], ramp_s: float = RAMP_S) -> None:
        self._clock = clock
        self._ramp_s = ramp_s

    def weight(self, target: Recovering) -> float:
        """What the target weighs now."""
        load = target.load
        if load.restored_at is None:
            return target.weight
        return target.weight * self.ratio(load, load.restored_at)

    def ratio(self, load: RecoveringLoad, restored_at: float) -> float:
        """The part of its weight that a target has which is coming back. The load forgets it when that is all."""
        elapsed_s = self._clock() - restored_at
        if elapsed_s >= self._ramp_s:
            load.restored_at = None
            return 1.0
        return FLOOR_RATIO + (1.0 - FLOOR_RATIO) * max(elapsed_s, 0.0) / self._ramp_s
