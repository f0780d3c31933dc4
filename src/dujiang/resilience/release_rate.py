"""How fast places become free."""

from math import exp

_MEMORY_S = 5.0
"""Releases count for about so long (the time constant of the exponential decay)."""


class ReleaseRate:
    """The mean time between two releases while every place is taken: decayed time / decayed releases.

    Both sums decay with time and not by release, so that calls which end in batches do not sway the mean.
    """

    __slots__ = ("_last_s", "_releases", "_time_s")

    def __init__(self) -> None:
        self._releases = 0.0
        self._time_s = 0.0
        self._last_s = 0.0

    def resume(self, now_s: float) -> None:
        """All places are taken from now on: the time before counts for nothing."""
        self._last_s = max(now_s, self._last_s)

    def note(self, now_s: float) -> None:
        """A place has become free. A long pause counts as `_MEMORY_S` at most, so that it is forgotten in that time."""
        passed_s = min(now_s - self._last_s, _MEMORY_S)
        kept = exp(-passed_s / _MEMORY_S)
        self._releases = self._releases * kept + 1
        self._time_s = self._time_s * kept + passed_s
        self._last_s = now_s

    def interval_s(self, now_s: float) -> float:
        """Seconds between two releases; 0 before any. If none comes for long, the wait for it counts."""
        if not self._releases:
            return 0.0
        pending_s = max(now_s - self._last_s - self._time_s / self._releases, 0.0)
        return (self._time_s + pending_s) / self._releases
