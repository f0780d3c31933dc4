"""A bound on retries as a share of traffic, so that an outage is never amplified: Finagle's token bucket.

https://twitter.github.io/finagle/guide/Clients.html#retry-budget; the share and the floor are those of Envoy's.
"""

from collections.abc import Callable

TTL_S = 10
"""What was not withdrawn within it is lost: an hour without failures must not pay for a storm."""

FLOOR_PER_S = 3
"""Retries a second that are always there, so that a quiet model is retried too. They add up to those of a second."""

_UNIT = 1_000_000
"""Parts of a token, so that sums are exact."""


class RetryBudget:
    """The retries that one group of targets may have. Every operation takes constant time and allocates nothing.

    Each first attempt deposits `ratio` tokens, each retry withdraws one. Over any time, retries are at most `ratio` of
    first attempts, and `FLOOR_PER_S` a second and once more. `clock` gives monotonic seconds.
    """

    __slots__ = ("_balance", "_clock", "_deposit", "_floor", "_floor_at", "_oldest", "_second", "_unspent")

    def __init__(self, ratio: float, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._floor_at = clock()
        self._floor = float(FLOOR_PER_S)
        self._second = self._oldest = int(self._floor_at)
        self._unspent = [0] * TTL_S  # by the second in which it was deposited, modulo the time to live
        self._balance = 0
        self.apply(ratio)

    def apply(self, ratio: float) -> None:
        """Go on by another share, as after a reload."""
        self._deposit = round(ratio * _UNIT)

    @property
    def tokens(self) -> float:
        """How many retries could be had at once now."""
        self._advance()
        return self._balance / _UNIT + self._filled_floor(self._clock())

    def deposit(self, client_retries: int = 0) -> None:
        """A call's first attempt. When the caller's own client repeats it, it is a retry already: it withdraws, if
        there is something, and is let in all the same.
        """
        if client_retries:
            self.withdraw()
            return
        second = int(self._clock())
        if second != self._second:
            self._advance()
        self._unspent[second % TTL_S] += self._deposit
        self._balance += self._deposit

    def withdraw(self) -> bool:
        """Pay for one retry. False: there is nothing, do not retry."""
        self._advance()
        if self._balance >= _UNIT:
            self._balance -= _UNIT
            self._spend_oldest(_UNIT)
            return True
        now = self._clock()
        floor = self._filled_floor(now)
        if floor < 1:
            return False
        self._floor = floor - 1
        self._floor_at = now
        return True

    def _filled_floor(self, now: float) -> float:
        return min(float(FLOOR_PER_S), self._floor + (now - self._floor_at) * FLOOR_PER_S)

    def _advance(self) -> None:
        """Lose what is too old."""
        second = int(self._clock())
        unspent = self._unspent
        for passed in range(self._second + 1, min(second, self._second + TTL_S) + 1):
            self._balance -= unspent[passed % TTL_S]
            unspent[passed % TTL_S] = 0
        self._second = second
        self._oldest = max(self._oldest, second - TTL_S + 1)

    def _spend_oldest(self, units: int) -> None:
        """Take what will be lost first; there is enough."""
        unspent = self._unspent
        while units > (there := unspent[self._oldest % TTL_S]):
            unspent[self._oldest % TTL_S] = 0
            units -= there
            self._oldest += 1
        unspent[self._oldest % TTL_S] = there - units
