"""The vendor's limits of requests and tokens a minute, kept by us, so that the vendor need not refuse."""

from collections.abc import Callable
from typing import NamedTuple

from dujiang.core.settings import Limits

PERIOD_S = 60


class Taken(NamedTuple):
    """What a call took: in which second, and how many tokens it was expected to use."""

    second: int
    tokens: int


class MinuteWindow:
    """How much was taken in the last minute, by the second, of at most `limit`.

    A second counts until all of it is a minute ago, so that no 60 s ever hold more than the limit, wherever they begin,
    and all of it is free again after 61. GCRA, which our own limits use (`dujiang.storage.rates`), would not do: it
    lets a whole minute's worth pass at once *and* the rate beside it, up to twice the limit in a minute.
    """

    __slots__ = ("_amounts", "limit", "used")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.used = 0
        self._amounts: dict[int, int] = {}

    def has_room(self, amount: int, now: float) -> bool:
        """Whether so much more passes now. What is more than the limit passes where nothing else is."""
        if self.used + amount <= self.limit:
            return True
        self._forget(now)
        return self.used + min(amount, self.limit) <= self.limit

    def free_at(self, amount: int, now: float) -> float:
        """The moment from which so much passes, if nobody takes more: `now` or later."""
        if self.has_room(amount, now):
            return now
        excess = self.used + min(amount, self.limit) - self.limit
        for second, part in self._amounts.items():
            excess -= part
            if excess <= 0:
                return float(second + PERIOD_S + 1)
        return now

    def add(self, amount: int, second: int) -> None:
        """Count so much in a second that is not before any other."""
        self._forget(second)
        self._amounts[second] = self._amounts.get(second, 0) + amount
        self.used += amount

    def give_back(self, amount: int, second: int) -> None:
        """Count so much less of what was counted in a second, which may be long ago."""
        part = self._amounts.get(second)
        if part is not None:
            self._amounts[second] = part - amount
            self.used -= amount

    def _forget(self, now: float) -> None:
        oldest = now - PERIOD_S - 1
        while self._amounts and (second := next(iter(self._amounts))) <= oldest:
            self.used -= self._amounts.pop(second)


class VendorLimits:
    """The limits of a target, or of a provider that holds for all its targets: `within` is its provider's.

    Each of `processes` keeps an equal share of them (rounded down, at least 1) for itself and asks nobody; `clock` is
    monotonic, in seconds, and the same for a target and its provider.
    """

    __slots__ = ("_clock", "_requests", "_tokens", "_within", "declared")

    def __init__(
        self, limits: Limits, processes: int, clock: Callable[[], float], within: "VendorLimits | None" = None
    ) -> None:
        self.declared = limits
        self._requests = None if limits.rpm is None else MinuteWindow(max(1, limits.rpm // processes))
        self._tokens = None if limits.tpm is None else MinuteWindow(max(1, limits.tpm // processes))
        self._clock = clock
        self._within = within

    def has_room(self, tokens: int) -> bool:
        """Whether a call that is expected to use so many tokens passes now."""
        now = self._clock()
        if self._requests is not None and not self._requests.has_room(1, now):
            return False
        if self._tokens is not None and not self._tokens.has_room(tokens, now):
            return False
        return self._within is None or self._within.has_room(tokens)

    def room_at(self, tokens: int) -> float:
        """The clock's moment from which it would pass, if no other call came: now where it passes now."""
        now = self._clock()
        at = now if self._within is None else self._within.room_at(tokens)
        if self._requests is not None:
            at = max(at, self._requests.free_at(1, now))
        if self._tokens is not None:
            at = max(at, self._tokens.free_at(tokens, now))
        return at

    def take(self, tokens: int) -> Taken:
        """Count a call as made now. Whether it passes is asked before."""
        taken = Taken(int(self._clock()), tokens)
        self.count(taken)
        return taken

    def correct(self, taken: Taken, tokens: int) -> None:
        """Count the tokens that a call used instead of those that it was expected to use.

        What was too much is given back to the minute that it was taken from; what was too little counts from now on,
        and may be more than there was room for.
        """
        if self._tokens is not None:
            if tokens < taken.tokens:
                self._tokens.give_back(taken.tokens - tokens, taken.second)
            elif tokens > taken.tokens:
                self._tokens.add(tokens - taken.tokens, int(self._clock()))
        if self._within is not None:
            self._within.correct(taken, tokens)

    def count(self, taken: Taken) -> None:
        """Count what was taken from another's limits as taken from these, and from those around them."""
        if self._requests is not None:
            self._requests.add(1, taken.second)
        if self._tokens is not None:
            self._tokens.add(taken.tokens, taken.second)
        if self._within is not None:
            self._within.count(taken)
