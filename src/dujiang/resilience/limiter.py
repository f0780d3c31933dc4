"""How many calls one target gets at once: as declared, or as its answers show that it can take.

A window of learning is as many notes as were in flight when it began, which is one round trip whatever that takes, or
fewer if they bring enough first tokens. Only first tokens of calls that began in it count: those that began under an
older limit tell of an older crowd. An idle target keeps what it had; a busy one learns as fast as it answers.
"""

from collections.abc import Callable
from math import inf
from statistics import median
from time import monotonic
from typing import Literal, Protocol

from dujiang.core.errors import AppError, StaleConnection, Throttled, Timeout, Unavailable
from dujiang.resilience.settings import ConcurrencySettings

Outcome = Literal["ok", "overloaded", "failed"]
"""How an attempt went, as far as a limit learns from it. What failed for another reason than load teaches nothing."""

_BACKOFF = 0.85
"""What is left of the limit after a sign of overload (AIMD; TCP halves, which is for queues of packets)."""

_HOLD_WINDOWS = 20
"""For so many windows the limit stays below what it was when something was refused, before that is tried again."""

_TOLERANCE = 1.1
"""How far first tokens may be later than without load before the limit shrinks."""

_SMOOTHING = 0.5
"""How much of the way to the computed limit one window goes."""

_MIN_SAMPLES = 20
"""Notes of a window at least, and the first tokens that it takes to trust their median."""

_RELEARN_WINDOWS = 40
"""After so many windows in use, what first tokens take without load is measured again."""

_RELIEVED = 0.75
"""First tokens that come in less than this share of the time before, at half the limit, had been waiting for others."""

_BASELINE_WEIGHT = 0.2
"""How much one window moves what is taken for the time to first token without load."""


class Limit(Protocol):
    """How many calls a target gets at once, and what changes that."""

    @property
    def limit(self) -> int: ...

    def note(self, in_flight: int, outcome: Outcome, first_token_s: float | None = None) -> None:
        """An attempt has shown how it goes: a stream at its first token, a whole answer and a failure at their end.

        `in_flight` counts the target's calls at that moment, this one included. `first_token_s` is None for whole
        answers: what they take depends on what they say.
        """
        ...


class FixedLimit:
    """What the document says, whatever happens."""

    __slots__ = ("limit",)

    def __init__(self, limit: int) -> None:
        self.limit = limit

    def note(self, in_flight: int, outcome: Outcome, first_token_s: float | None = None) -> None:
        """Learns nothing."""


class AdaptiveLimit:
    """Between 1 and `most`, from which it starts: a restart under load must not refuse what was served before.

    Where a window has enough first tokens, the gradient of Netflix's concurrency-limits (`Gradient2Limit`) decides:
    `limit x clamp(tolerance x baseline / median, 0.5, 1) + headroom`, smoothed. Else the limit grows by the headroom
    in every window that passed well. Both only while at least half of the limit is used. A refusal for load (429, 503)
    or a timeout cuts it at once, once per window (AIMD); what it was then is a ceiling for a while, since a service
    that counts calls would else refuse some in every third window.

    The baseline, the time to first token without load, is the smoothed median of windows that were quicker or did not
    use half of the limit. A load that never ends would hide it: so now and then, and when the limit has fallen by half,
    the limit is halved for one window (Envoy's `adaptive_concurrency` goes down to 3). If first tokens come much sooner
    then, the target was crowded before: the half stays, and is halved again.
    """

    __slots__ = (
        "_baseline_s",
        "_before",
        "_before_s",
        "_began_s",
        "_ceiling",
        "_clock",
        "_first_tokens_s",
        "_held",
        "_is_cut",
        "_learnt",
        "_left",
        "_limit",
        "_most",
        "_need",
        "_peak",
        "_phase",
        "_step",
        "_until_relearn",
    )

    def __init__(self, most: int, clock: Callable[[], float] = monotonic) -> None:
        self._most = most
        self._clock = clock
        self._limit = float(most)
        self._ceiling = inf
        self._held = 0
        self._step = 1.0
        self._baseline_s: float | None = None
        self._phase: Callable[[float | None], None] = self._adjust
        self._until_relearn = 1
        self._learnt = self._limit
        self._before = self._limit
        self._before_s = 0.0
        self._begin(0)

    @property
    def limit(self) -> int:
        return int(self._limit)

    def note(self, in_flight: int, outcome: Outcome, first_token_s: float | None = None) -> None:
        """See `Limit`."""
        if outcome == "failed":
            return
        if first_token_s is not None and self._clock() - first_token_s < self._began_s and outcome == "ok":
            return
        self._peak = max(self._peak, in_flight)
        self._left -= 1
        if outcome == "overloaded":
            self._cut(in_flight)
        elif first_token_s is not None:
            self._first_tokens_s.append(first_token_s)
        if self._left <= 0 or len(self._first_tokens_s) >= self._need:
            self._turn(in_flight)

    def _turn(self, in_flight: int) -> None:
        """The window is over: learn from it, unless it began with a cut, and begin the next."""
        if not self._is_cut:
            samples = self._first_tokens_s
            self._phase(median(samples) if len(samples) >= _MIN_SAMPLES else None)
        self._begin(in_flight)

    def _begin(self, in_flight: int) -> None:
        self._left = max(in_flight, _MIN_SAMPLES)
        self._need = max(self.limit // 4, _MIN_SAMPLES)
        self._began_s = self._clock()
        self._peak = 0
        self._is_cut = False
        self._first_tokens_s: list[float] = []

    def _cut(self, in_flight: int) -> None:
        """Shrink, from what was really in flight if that is near the limit; once until a round trip has passed."""
        if self._is_cut:
            return
        reached = in_flight if in_flight * 2 >= self._limit else self._limit
        self._ceiling, self._held, self._step = max(self.limit - 1.0, 1.0), 0, 1.0
        self._set(min(self._limit, reached) * _BACKOFF)
        self._begin(in_flight)
        self._is_cut = True
        self._phase = self._adjust

    def _set(self, limit: float) -> None:
        self._limit = min(max(limit, 1.0), float(self._most))

    def _grow(self, limit: float) -> None:
        """Go up to a limit, or for now to the ceiling, which then is lifted in doubling steps."""
        if limit > self._ceiling:
            self._held += 1
            if self._held > _HOLD_WINDOWS:
                self._ceiling += self._step
                self._step *= 2
            limit = min(limit, self._ceiling)
        self._set(limit)

    def _headroom(self) -> float:
        """Calls that a window adds while all is well: half the root of the limit, at least one."""
        return max(1.0, self._limit**0.5 / 2)

    def _adjust(self, median_s: float | None) -> None:
        """The window of every day."""
        is_used = self._peak * 2 >= self._limit
        if median_s is not None:
            self._learn(median_s, is_used=is_used)
        if not is_used:
            return
        if median_s is None or self._baseline_s is None:
            self._grow(self._limit + self._headroom())
            return
        gradient = min(max(_TOLERANCE * self._baseline_s / median_s, 0.5), 1.0)
        target = self._limit * gradient + self._headroom()
        self._grow(self._limit + _SMOOTHING * (target - self._limit))
        self._until_relearn -= 1
        if self._until_relearn <= 0 or self._limit * 2 < self._learnt:
            self._relearn(median_s)

    def _learn(self, median_s: float, *, is_used: bool) -> None:
        baseline_s = self._baseline_s
        if baseline_s is None:
            self._baseline_s = median_s
        elif median_s < baseline_s or not is_used:
            self._baseline_s = baseline_s + _BASELINE_WEIGHT * (median_s - baseline_s)

    def _relearn(self, median_s: float) -> None:
        self._before, self._before_s = self._limit, median_s
        self._set(self._limit / 2)
        self._phase = self._measure

    def _measure(self, median_s: float | None) -> None:
        """The window at half the limit."""
        self._phase = self._adjust
        self._until_relearn = _RELEARN_WINDOWS
        if median_s is not None:
            self._baseline_s = median_s
            if median_s < _RELIEVED * self._before_s and self._limit > 1:
                self._relearn(median_s)
                return
        self._set(self._before)
        self._learnt = self._limit


def limit_of(settings: ConcurrencySettings, clock: Callable[[], float] = monotonic) -> Limit:
    """The limit that `settings` declare, for one target."""
    return AdaptiveLimit(settings.limit, clock) if settings.adaptive else FixedLimit(settings.limit)


def outcome_of(error: AppError | None) -> Outcome:
    """What an attempt that ended with `error`, or with none, says about load."""
    if error is None:
        return "ok"
    if isinstance(error, Throttled | Unavailable | Timeout) and not isinstance(error, StaleConnection):
        return "overloaded"
    return "failed"
