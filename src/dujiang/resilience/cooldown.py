"""A timer for what asked to be left alone for a moment: a 429 is no failure, and never opens a breaker."""

from collections.abc import Callable

MAX_COOL_S = 300.0
"""What asks for more is not busy but out of its allotment: it is parked, and looked at again (`parking.py`)."""

DEFAULT_COOL_S = 1.0
"""When a 429 does not say how long. Short: the concurrency limit falls too, and finds the rate that passes."""


class Cooldown:
    """When something that throttled us may be asked again.

    `clock` gives monotonic seconds; `until` is a moment of it, past when nothing is to be waited for.
    """

    __slots__ = ("_clock", "until")

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self.until = 0.0

    def allows(self) -> bool:
        return self._clock() >= self.until

    def cool(self, retry_after_s: float | None) -> bool:
        """Wait for as many seconds as the answer said (None: it did not). A running timer is never shortened.

        False when that is too long: nothing is set, park it. What is not above zero says nothing.
        """
        for_s = DEFAULT_COOL_S if retry_after_s is None or not retry_after_s > 0 else retry_after_s
        if not for_s <= MAX_COOL_S:
            return False
        self.until = max(self.until, self._clock() + for_s)
        return True

    def adopt(self, until: float) -> None:
        """Take over what another process was told: a moment of this process's clock. Longer than the bound is cut."""
        self.until = max(self.until, min(until, self._clock() + MAX_COOL_S))

    def restore(self) -> None:
        """An operator knows better."""
        self.until = 0.0
