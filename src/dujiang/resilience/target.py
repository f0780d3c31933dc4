"""One model at one provider under one credential: what is learnt of it, and whether it may be asked now."""

from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Literal, NamedTuple

from dujiang.core.chat import Usage
from dujiang.core.errors import UpstreamError
from dujiang.core.money import Cost, Price, unpriced
from dujiang.core.protocols import Handler
from dujiang.resilience.breaker import Breaker, State, Ticket
from dujiang.resilience.candidate import TargetLoad
from dujiang.resilience.cooldown import Cooldown
from dujiang.resilience.limiter import Limit, limit_of, outcome_of
from dujiang.resilience.parking import Parking
from dujiang.resilience.settings import ResilienceSettings
from dujiang.resilience.vendor_limits import Taken, VendorLimits
from dujiang.resilience.verdict import verdict
from dujiang.storage.holds import Hold

Shown = Literal["ok", "failing", "open", "half_open", "cooling", "parked", "drained", "ejected", "unused"]
"""What operators see. `failing`: the last call did, and the breaker is closed still."""

SLOW_SHARE = 0.8
"""Of its clock: an answer that takes more is slow."""


class Standing(NamedTuple):
    """How a target is, since when (ISO 8601, UTC; None before its first call), and why it is not well."""

    state: Shown
    since: str | None
    reason: str | None


class Place(NamedTuple):
    """What tells a target from all others."""

    provider: str
    name: str
    credential: str


class Entry(NamedTuple):
    """A call that a target took. It is reported once for its opening, and again where its stream breaks."""

    ticket: Ticket
    target_era: int
    credential_era: int
    taken: Taken | None


Tell = Callable[[Literal["open", "cooling", "target_parked", "target_restored"], float, str], None]
"""Tells other processes what happened to a target, for how many seconds it holds, and by which error."""


def _tell_nobody(what: str, left_s: float, reason: str) -> None:
    pass


class Load(TargetLoad):
    """What is learnt of a target, which outlives the revision that declares it. `limit` is how many calls it gets at
    once. `tell` hears what other processes should know.
    """

    __slots__ = ("_clock", "_limited_by", "_tell", "breaker", "cooldown", "last_error", "limit", "noted_at", "parking")

    limit: Limit

    def __init__(
        self,
        settings: ResilienceSettings,
        clock: Callable[[], float],
        draw: Callable[[], float],
        tell: Tell = _tell_nobody,
    ) -> None:
        super().__init__()
        self._clock = clock
        self._tell = tell
        self._limited_by = settings.concurrency
        self.limit = limit_of(settings.concurrency, clock)
        self.breaker = Breaker(settings.breaker, clock, draw, self._changed)
        self.cooldown = Cooldown(clock)
        self.parking = Parking(clock, draw, on_change=self._parked)
        self.last_error: str | None = None
        self.noted_at: datetime | None = None

    def apply(self, settings: ResilienceSettings) -> None:
        """Go on by other settings, as after a reload. What was learnt stays where they are the same."""
        self.breaker.apply(settings.breaker)
        if settings.concurrency != self._limited_by:
            self._limited_by = settings.concurrency
            self.limit = limit_of(settings.concurrency, self._clock)

    def hold(self, held: Hold | None) -> None:
        """Follow an operator's word: that the target is out, or no longer."""
        breaker = self.breaker
        if held is None:
            if breaker.state in {"drained", "ejected"}:
                breaker.restore()
        elif (breaker.state, breaker.reason) == (held.state, held.reason):
            pass
        elif held.state == "drained":
            breaker.drain(held.reason)
        else:
            breaker.eject(held.reason)

    def forget(self) -> None:
        """Take it for well, whatever was learnt, but for an operator's word."""
        if self.breaker.state not in {"drained", "ejected"}:
            self.breaker.restore()
        self.cooldown.restore()
        self.parking.restore()
        self.last_error = self.noted_at = None

    def note(self, reason: str | None) -> None:
        """Remember how the last call went: None for well, else the code of its error."""
        if self.noted_at is None or (reason is None) != (self.last_error is None):
            self.noted_at = datetime.now(UTC)
        self.last_error = reason

    def cool(self, error: UpstreamError) -> bool:
        """Leave it alone for as long as it said. False where that is too long."""
        cooldown = self.cooldown
        if not cooldown.cool(error.retry_after_s):
            return False
        self._tell("cooling", cooldown.until - self._clock(), error.code)
        return True

    def _changed(self, state: State, reason: str | None) -> None:
        if state == "closed":
            self.come_back(self.breaker.since)
        elif state == "open":
            self._tell("open", self.breaker.retry_at - self._clock(), reason or "")

    def _parked(self, reason: str | None) -> None:
        self._tell("target_restored" if reason is None else "target_parked", 0.0, reason or "")


class Upstream:
    """What the targets of one provider have in common: how many calls it takes at once over all of them, how many it
    is serving, and its limits of rates.
    """

    __slots__ = ("_places", "in_flight", "limits")

    def __init__(self, places: int | None = None, limits: VendorLimits | None = None) -> None:
        self._places = places
        self.limits = limits
        self.in_flight = 0

    def has_place(self) -> bool:
        """Whether it takes one call more."""
        return self._places is None or self.in_flight < self._places


class Door(NamedTuple):
    """How a target is asked: `open` opens an answer; `probe` asks its service for free, in at most so many seconds,
    whether it lets the credential in, and raises `UpstreamError` where it does not.
    """

    open: Handler
    probe: Callable[[float], Awaitable[None]] | None = None


class Target:
    """A target that calls are sent to."""

    __slots__ = (
        "_price",
        "_settings",
        "breakers",
        "credential",
        "credit",
        "limits",
        "load",
        "name",
        "open",
        "parking",
        "probe",
        "provider",
        "upstream",
        "weight",
    )

    provider: str
    name: str
    credential: str
    weight: float
    load: Load
    open: Handler

    def __init__(
        self,
        place: Place,
        weight: float,
        door: Door,
        load: Load,
        parking: Parking,
        upstream: Upstream,
        limits: VendorLimits | None = None,
        settings: ResilienceSettings = ResilienceSettings(),
        price: Price = unpriced,
    ) -> None:
        self.provider, self.name, self.credential = place
        self.weight = weight
        self.open, self.probe = door
        self._price = price
        self.load = load
        self.parking = parking
        self.upstream = upstream
        self.limits = limits
        self._settings = settings
        self.breakers: Sequence[Breaker] = (load.breaker,)
        self.credit = 0.0

    def begin(self) -> None:
        """What outlived the revision before goes on by these settings."""
        self.load.apply(self._settings)

    def forget(self) -> None:
        """Take it and its credential for well, whatever was learnt, but for an operator's word."""
        self.load.forget()
        self.parking.restore()

    @property
    def barred_until(self) -> float:
        """The moment before which it must not be asked, for another reason than failing; past where there is none."""
        load = self.load
        until = load.cooldown.until
        if load.parking.reason is not None:
            until = max(until, load.parking.recheck_at)
        if self.parking.reason is not None:
            until = max(until, self.parking.recheck_at)
        return until

    def price(self, usage: Usage) -> Cost | None:
        """What a use of it costs, None when that is not known."""
        return self._price(usage)

    def has_room(self, tokens: int) -> bool:
        """Whether it takes one call more now, which is expected to use so many tokens."""
        if self.load.in_flight >= self.load.limit.limit or not self.upstream.has_place():
            return False
        return self.limits is None or self.limits.has_room(tokens)

    def room_at(self, tokens: int, now: float) -> float:
        """The moment at which it may take one, if nothing else happens: places come back at any time."""
        return now if self.limits is None else self.limits.room_at(tokens)

    def enter(self, tokens: int, *, is_last_resort: bool = False) -> Entry | None:
        """Take a call, or not: somebody else may have taken the last place of a probe meanwhile."""
        load = self.load
        target_era, credential_era = load.parking.enter(), self.parking.enter()
        if target_era is None or credential_era is None:
            return None
        ticket = load.breaker.enter(is_last_resort=is_last_resort)
        if ticket is None:
            return None
        load.in_flight += 1
        self.upstream.in_flight += 1
        taken = self.limits.take(tokens) if self.limits is not None else None
        return Entry(ticket, target_era, credential_era, taken)

    def opened(self, entry: Entry, waited_s: float, now: float, *, is_streamed: bool) -> None:
        """The answer began, or is there as a whole. `now` is of the clock that all of this was made with."""
        load = self.load
        if is_streamed:
            load.first_token.observe(waited_s, now)
        load.limit.note(load.in_flight, "ok", waited_s if is_streamed else None)
        load.breaker.succeed(entry.ticket, self.is_slow(waited_s, is_streamed=is_streamed))
        if load.parking.reason is not None:
            load.parking.succeed(entry.target_era)
        if self.parking.reason is not None:
            self.parking.succeed(entry.credential_era)
        load.cooldown.succeed()
        if load.last_error is not None or load.noted_at is None:
            load.note(None)

    def failed(self, entry: Entry, error: UpstreamError) -> None:
        """The call could not be opened, or its stream broke."""
        load, found = self.load, verdict(error)
        load.limit.note(load.in_flight, outcome_of(error))
        if found.hurts_breaker:
            load.breaker.fail(entry.ticket, error.code)
        else:
            load.breaker.cancel(entry.ticket)
        if found.cools and not load.cool(error):
            load.parking.park(entry.target_era, error.code, error.retry_after_s or 0.0)
        if found.parks == "target":
            load.parking.park(entry.target_era, error.code)
        elif found.parks is not None:
            self.parking.park(entry.credential_era, error.code, error.retry_after_s or 0.0)
        if found.hurts_breaker or found.cools or found.parks is not None:
            load.note(error.code)

    def is_slow(self, took_s: float, *, is_streamed: bool) -> bool:
        """Whether a first token, or a whole answer, that took so long is taken for a sign of illness."""
        timeouts = self._settings.timeouts
        return took_s > SLOW_SHARE * (timeouts.first_token_s if is_streamed else timeouts.total_s)

    def told_nothing(self, entry: Entry) -> None:
        """The call ended for a reason that is not the target's."""
        self.load.breaker.cancel(entry.ticket)

    def leave(self, entry: Entry, tokens: int, answered_in_s: float | None, now: float) -> None:
        """The call is over, and used so many tokens. `answered_in_s` is what a whole answer took, None for others."""
        load = self.load
        load.in_flight -= 1
        self.upstream.in_flight -= 1
        if entry.taken is not None and self.limits is not None:
            self.limits.correct(entry.taken, tokens)
        if answered_in_s is not None and tokens:
            load.per_token.observe(answered_in_s / tokens, now)

    def standing(self, now: float) -> Standing:
        """What operators see of it."""
        load = self.load
        breaker = load.breaker
        if breaker.state != "closed":
            return Standing(breaker.state, _iso(now - breaker.since), breaker.reason)
        parked = load.parking.reason or self.parking.reason
        since = load.noted_at.isoformat(timespec="seconds") if load.noted_at is not None else None
        if parked is not None:
            return Standing("parked", since, parked)
        if load.cooldown.until > now:
            return Standing("cooling", since, load.last_error)
        if load.noted_at is None:
            return Standing("unused", None, None)
        return Standing("ok" if load.last_error is None else "failing", since, load.last_error)


def _iso(ago_s: float) -> str:
    return (datetime.now(UTC) - timedelta(seconds=ago_s)).isoformat(timespec="seconds")
