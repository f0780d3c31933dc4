"""A circuit breaker: what fails, or is mostly slow, is left alone for a while and then tried again with few calls.

The states are those of M. Nygard's "Release It!", the window and the slow calls those of resilience4j, the growing time
and its jitter those of Envoy's outlier detection. How an attempt uses it (`verdict.py` says which errors count):

    ticket = breaker.enter()                # None: not now; `retry_at` says when
    try:
        reply = await target.open(call)
    except AppError as error:
        if verdict(error).hurts_breaker:
            breaker.fail(ticket, error.code)
        else:
            breaker.cancel(ticket)          # a refusal, a 429: says nothing about health
        raise
    except BaseException:                   # the caller left
        breaker.cancel(ticket)
        raise
    breaker.succeed(ticket, is_slow=...)    # at the first chunk: a probe must not last as long as its stream

A stream that breaks later is one more outcome of the same ticket: `breaker.fail(ticket, "upstream_stream_broken")`.
"""

from collections.abc import Callable
from math import inf
from typing import Literal

from dujiang.resilience.backoff import jittered_s
from dujiang.resilience.outcomes import FAILED, GOOD, SLOW, Outcomes
from dujiang.resilience.settings import BreakerSettings

State = Literal["closed", "open", "half_open", "drained", "ejected"]

MAX_AGE_S = 180.0
"""Older outcomes do not count. A silent target that is called now and then must still be found out: this is room for
five (`min_calls`) first-token timeouts of 30 s, one after the other."""

SLOW_RATIO = 0.8
"""The share of slow calls that opens. Long answers are slow without any fault, so it takes more than of failures."""

PROBE_LEASE_S = 600.0
"""A probe that nobody reported for so long is taken for lost: twice what a call may take (`total_s`)."""

LAST_RESORT_PAUSE_S = 1.0
"""How long a target that is asked although it is open is left alone after each failure: it must not be hammered, and
must be found well within about a second."""


class Ticket:
    """A call that was let in. All calls of a closed breaker share one, for as long as it stays closed."""

    __slots__ = ()


def _tell_nobody(state: State, reason: str | None) -> None:
    pass


class Breaker:
    """The breaker of one target or one credential.

    *Closed* lets all in. *Open* lets none in until `retry_at`. *Half-open* lets `probes` in at once: the first that
    succeeds closes, one that fails opens again, one that is cancelled makes room for another. *Drained* and *ejected*
    are an operator's words, and hold until `restore`. Outcomes of calls that entered before the last change of state
    are ignored: they tell of another time.

    `clock` gives monotonic seconds, `draw` uniform numbers in [0, 1). `on_change(state, reason)` is told of every
    change that happened here, not of those that another process told of (`adopt`), so that it may publish them.
    Nothing here raises.
    """

    __slots__ = (
        "_clock",
        "_draw",
        "_inside",
        "_leased_until",
        "_next_open_s",
        "_on_change",
        "_outcomes",
        "_passing",
        "_settings",
        "last_resort_at",
        "opened",
        "reason",
        "retry_at",
        "since",
        "state",
    )

    state: State
    """Read only. A breaker whose open time is over stays `open` until a probe enters."""
    since: float
    """The moment at which `state` began. A balancer's slow start counts from it."""
    reason: str | None
    """Why it is not closed: the code of the last error, `slow`, or an operator's words. None while closed."""
    retry_at: float
    """The moment of the next probe at the earliest: past when closed, or when a probe's outcome is awaited; infinite
    when only an operator can tell."""
    last_resort_at: float
    """The same for `enter(is_last_resort=True)`."""
    opened: int
    """How often it opened by what this process saw."""

    def __init__(
        self,
        settings: BreakerSettings,
        clock: Callable[[], float],
        draw: Callable[[], float],
        on_change: Callable[[State, str | None], None] = _tell_nobody,
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._draw = draw
        self._on_change = on_change
        self._outcomes = Outcomes(settings.window, MAX_AGE_S)
        self._passing = Ticket()
        self._inside: set[Ticket] = set()
        self.opened = 0
        self._leased_until = 0.0
        self._next_open_s = float(settings.open_s)
        self.state = "closed"
        self.since = clock()
        self.reason = None
        self.retry_at = 0.0
        self.last_resort_at = 0.0

    # ---- a call -------------------------------------------------------------------------------------------------

    def allows(self, *, is_last_resort: bool = False) -> bool:
        """Whether a call would be let in now. Changes nothing."""
        return self.state == "closed" or self._admits_probe(self._clock(), is_last_resort)

    def enter(self, *, is_last_resort: bool = False) -> Ticket | None:
        """Let a call in, or not (None). What is let in must be reported: `succeed`, `fail` or `cancel`.

        The last resort of a pool (`ejection.py`) is probed while it is open, with one call at a time and a second after
        each failure.
        """
        if self.state == "closed":
            return self._passing
        now = self._clock()
        if not self._admits_probe(now, is_last_resort):
            return None
        if now >= self._leased_until:
            self._inside.clear()
        if self.state == "open":
            self._change("half_open", now, self.reason)
        ticket = Ticket()
        self._inside.add(ticket)
        self._leased_until = now + PROBE_LEASE_S
        return ticket

    def succeed(self, ticket: Ticket, is_slow: bool = False) -> None:  # noqa: FBT001, FBT002 - by keyword it costs 30 ns
        """The call was answered. `is_slow`: it took longer than a bound of the caller's, a share of its clock."""
        if ticket is not self._passing:
            if ticket in self._inside:
                self._judge_probe("slow" if is_slow else None)
        elif is_slow:
            self._count_bad(SLOW, "slow")
        else:
            self._outcomes.add(self._clock(), GOOD)

    def fail(self, ticket: Ticket, reason: str) -> None:
        """The call failed in a way that hurts; `reason` is its error's code."""
        if ticket is self._passing:
            self._count_bad(FAILED, reason)
        elif ticket in self._inside:
            self._judge_probe(reason)

    def cancel(self, ticket: Ticket) -> None:
        """The call ended and told nothing about health. A probe makes room for the next."""
        self._inside.discard(ticket)

    # ---- from outside -------------------------------------------------------------------------------------------

    def drain(self, reason: str) -> None:
        """Let no new call in until `restore`, though nothing is wrong: those inside go on."""
        self._shut("drained", reason)

    def eject(self, reason: str) -> None:
        """Let no new call in until `restore`, because something is wrong."""
        self._shut("ejected", reason)

    def restore(self) -> None:
        """Close, whatever was, and begin anew."""
        self._next_open_s = float(self._settings.open_s)
        self._close(self._clock())

    def hasten(self) -> None:
        """What is open may be probed now: there is a sign that it is well again."""
        if self.state == "open":
            self.retry_at = self.last_resort_at = self._clock()

    def adopt(self, state: Literal["open", "drained", "ejected"], until: float, reason: str) -> None:
        """Take over what another process found. `until` is a moment of this process's clock: now, and
        what is left of the other's open time.

        It never shortens: a shorter open time than ours, or one while an operator has the word, is ignored; a
        longer one than the document allows is cut. `on_change` is not told.
        """
        now = self._clock()
        if state != "open":
            if self.state == state:
                return
            self._leave_calls_behind()
            self._set(state, now, reason)
            self.retry_at = self.last_resort_at = inf
            return
        until = min(until, now + self._settings.max_open_s)
        if not until > max(now, self.retry_at):  # nor by what is no number
            return
        self._leave_calls_behind()
        if self.state != "open":
            self.last_resort_at = now + LAST_RESORT_PAUSE_S
        self._set("open", now, reason)
        self.retry_at = until

    def apply(self, settings: BreakerSettings) -> None:
        """Go on by other settings, as after a reload. What is open stays so for the time that was set."""
        self._settings = settings
        self._outcomes.size = settings.window
        self._next_open_s = max(float(settings.open_s), min(self._next_open_s, float(settings.max_open_s)))

    # ---- inside -------------------------------------------------------------------------------------------------

    def _admits_probe(self, now: float, is_last_resort: bool) -> bool:  # noqa: FBT001 - ours alone
        inside = 0 if now >= self._leased_until else len(self._inside)
        if now >= self.retry_at and inside < self._settings.probes:
            return True
        return is_last_resort and not inside and now >= self.last_resort_at

    def _count_bad(self, kind: int, reason: str) -> None:
        now = self._clock()
        outcomes, settings = self._outcomes, self._settings
        outcomes.add(now, kind)
        calls = len(outcomes)
        if calls < settings.min_calls:
            return
        if outcomes.failed >= settings.failure_ratio * calls or outcomes.slow >= SLOW_RATIO * calls:
            if now - self.since >= self._next_open_s:
                self._next_open_s = float(settings.open_s)  # it was well for as long as it would be left alone
            self._open(now, reason)

    def _judge_probe(self, reason: str | None) -> None:
        now = self._clock()
        if reason is None:
            self._close(now)
        elif now < self.retry_at:  # a last resort's probe: the open time goes on
            self._leave_calls_behind()
            self.last_resort_at = now + LAST_RESORT_PAUSE_S
            self._change("open", now, reason)
        else:
            self._open(now, reason)

    def _open(self, now: float, reason: str) -> None:
        max_open_s = self._settings.max_open_s
        self.opened += 1
        self._leave_calls_behind()
        self.retry_at = now + jittered_s(self._next_open_s, max_open_s, self._draw)
        self.last_resort_at = now + LAST_RESORT_PAUSE_S
        self._next_open_s = min(2 * self._next_open_s, float(max_open_s))
        self._change("open", now, reason)

    def _close(self, now: float) -> None:
        self._leave_calls_behind()
        self.retry_at = self.last_resort_at = 0.0
        self._change("closed", now, None)

    def _shut(self, state: State, reason: str) -> None:
        self._leave_calls_behind()
        self.retry_at = self.last_resort_at = inf
        self._change(state, self._clock(), reason)

    def _leave_calls_behind(self) -> None:
        """Tickets that are out are good for nothing any more."""
        self._passing = Ticket()
        self._inside.clear()
        self._outcomes.clear()

    def _change(self, state: State, now: float, reason: str | None) -> None:
        self._set(state, now, reason)
        self._on_change(state, reason)

    def _set(self, state: State, now: float, reason: str | None) -> None:
        self.state = state
        self.since = now
        self.reason = reason
