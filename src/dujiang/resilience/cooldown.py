"""A timer for what asked to be left alone for a moment: a 429 is no failure, and never opens a breaker."""

from collections.abc import Callable

MAX_COOL_S = 300.0
"""What asks for more is not busy but out of its allotment: it is parked, and looked at again (`parking.py`)."""

DEFAULT_COOL_S = 1.0
"""When a 429 does not say how long, at first and at most."""

_LEAST_COOL_S = 0.02
_EASE = 0.9
"""What is left of that pause after an answer."""


class Cooldown:
    """When something that throttled us may be asked again.

    Where it does not say when, the pause is learnt: it doubles with every refusal, and shrinks with every answer. So it
    settles at about seven answers for a refusal, however many pass in a second: an upstream that refuses above so many
    calls at once is hardly left alone, since the concurrency limit keeps it from refusing; one that counts calls a
    minute is left alone for as long as it takes.

    `clock` gives monotonic seconds; `until` is a moment of it, past when nothing is to be waited for.
    """

    __slots__ = ("_clock", "_pause_s", "until")

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._pause_s = DEFAULT_COOL_S
        self.until = 0.0

    def allows(self) -> bool:
        return self._clock() >= self.until

    def cool(self, retry_after_s: float | None) -> bool:
        """Wait for as many seconds as the answer said (None: it did not). A running timer is never shortened.

        False when that is too long: nothing is set, park it. What is not above zero says nothing.
        """
        now = self._clock()
        if retry_after_s is None or not retry_after_s > 0:
            if now < self.until:
                return True  # sent before the pause began: the refusal that began it said as much
            self._pause_s = for_s = min(2 * self._pause_s, DEFAULT_COOL_S)
        else:
            for_s = retry_after_s
        if not for_s <= MAX_COOL_S:
            return False
        self.until = max(self.until, now + for_s)
        return True

    def succeed(self) -> None:
        """It answered a call."""
        if self._pause_s > _LEAST_COOL_S:
            self._pause_s *= _EASE

    def adopt(self, until: float) -> None:
        """Take over what another process was told: a moment of this process's clock. Longer than the bound is cut."""
        self.until = max(self.until, min(until, self._clock() + MAX_COOL_S))

    def restore(self) -> None:
        """An operator knows better."""
        self.until = 0.0
