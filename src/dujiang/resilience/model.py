"""A configured model: its targets, and which of them is asked next."""

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence
from math import inf
from time import monotonic
from typing import NamedTuple

from dujiang.core.call import Call, One, Plan
from dujiang.core.errors import AppError, Unavailable
from dujiang.resilience.balancer import Balancers
from dujiang.resilience.ejection import Pool, usable
from dujiang.resilience.fair_queue import FairQueue
from dujiang.resilience.gate import Gate, Waiting
from dujiang.resilience.retry_budget import RetryBudget
from dujiang.resilience.settings import ResilienceSettings
from dujiang.resilience.sticky import sticky_key
from dujiang.resilience.target import Target
from dujiang.resilience.verdict import Fallback
from dujiang.storage.holds import Holds, Selection

POLL_S = 0.02
"""How soon to look again where it is not known when: rarely, since the gate lets in as many as there are places."""

_BYTES_PER_TOKEN = 4


class Choice(NamedTuple):
    """Whom to ask, and `by` what: the strategy; `only` where nobody else may be asked; `probe` where it is looked
    whether it is well again; `last_resort` where it is asked although it is left alone, because nobody else is there.
    """

    target: Target
    by: str


class Later(NamedTuple):
    """Nobody may be asked now. `recovers_at` is the moment to wait for, `asked_at` the earliest at which anybody may
    be, which is what a caller is told; infinite when only an operator can tell.
    """

    recovers_at: float
    asked_at: float


class Model:
    """A model as callers name it, and the plan for asking it by its name; `total_s` is the most that a call may take.

    When it has no target to ask, `missing` is the error that says what an operator must do. `fallbacks` has the models
    that are asked when it cannot answer, in order, by what it failed with. `gate` outlives revisions.
    """

    __slots__ = (
        "_balancers",
        "_strategy",
        "fallbacks",
        "gate",
        "missing",
        "name",
        "plan",
        "retries",
        "settings",
        "targets",
        "total_s",
        "version",
    )

    def __init__(
        self,
        name: str,
        version: str,
        targets: Sequence[Target],
        missing: AppError,
        settings: ResilienceSettings,
        retries: RetryBudget,
        balancers: Balancers[Target],
        gate: Gate | None = None,
    ) -> None:
        concurrency = settings.concurrency
        self.gate = gate or Gate(FairQueue[Waiting](concurrency.queue, concurrency.max_wait_s), self._places)
        self.name = name
        self.version = version
        self.targets = targets
        self.missing = missing
        self.settings = settings
        self.retries = retries
        self.total_s = settings.timeouts.total_s
        self.fallbacks: Mapping[Fallback, tuple[str, ...]] = {
            "failed": settings.fallbacks.get(name, ()),
            "too_long": settings.fallbacks_too_long.get(name, ()),
            "content_filtered": settings.fallbacks_filtered.get(name, ()),
        }
        self.plan = Plan((One(name),), name, "named")
        self._balancers = balancers
        self._strategy = settings.balancing.strategy

    def begin(self) -> None:
        """What outlived the revision before goes on by these settings. On the event loop."""
        for target in self.targets:
            target.begin()
        self.retries.apply(self.settings.retry.budget_ratio)
        concurrency = self.settings.concurrency
        self.gate.apply(self._places, concurrency.queue, concurrency.max_wait_s)

    def hold(self, holds: Holds) -> None:
        """Follow the operators' words about its targets."""
        for target in self.targets:
            target.load.hold(holds.of(target.provider, target.name, target.credential))
        self.gate.admit()

    def forget(self, of: Selection) -> None:
        """Take some of its targets for well, whatever was learnt of them."""
        for target in self.targets:
            if of.covers(target.provider, target.name, target.credential):
                target.forget()
        self.gate.admit()

    def ready(self, call: Call, clock: Callable[[], float] = monotonic) -> Collection[Target]:
        """The targets that the call could be sent to now."""
        tokens = foreseen_tokens(call)
        return [target for target in self._pool(clock()).ready if target.has_room(tokens)]

    def choose(self, call: Call, tried: Collection[Target], clock: Callable[[], float] = monotonic) -> Choice | Later:
        """Whom to ask.

        Who was tried already is asked again only when nobody else is left.
        """
        now = clock()
        pool = self._pool(now)
        tokens = foreseen_tokens(call)
        ready = [target for target in pool.ready if target.has_room(tokens)]
        fresh = [target for target in ready if target not in tried] if tried else ready
        candidates = fresh or ready
        if candidates:
            if len(candidates) == 1:
                return _only(candidates[0])
            balancer = self._balancers.streamed if call.request.stream else self._balancers.whole
            key = sticky_key(call.parsed.user, call.caller) if self._strategy == "sticky" else None
            chosen = balancer.choose(candidates, key)
            return Choice(chosen, self._strategy if chosen.load.breaker.state == "closed" else "probe")
        for target in pool.last_resort:
            if target.load.breaker.allows(is_last_resort=True) and target.has_room(tokens):
                return Choice(target, "last_resort")
        if pool.ready:
            room_at = min(target.room_at(tokens, now) for target in pool.ready)
            return Later(room_at, room_at)
        return Later(pool.recovers_at, pool.asked_at)

    def _pool(self, now: float) -> Pool[Target]:
        return usable(self.targets, self.settings.breaker.max_ejected_ratio, now)

    def least_s(self, call: Call) -> float:
        """How long the quickest target needs to begin a streamed answer, as far as that is known; 0 where it is not."""
        if not call.request.stream:
            return 0.0
        now = monotonic()
        return min((target.load.first_token.at(now) for target in self.targets), default=0.0)

    async def wait_for_place(self, call: Call, weight: float) -> None:
        """Enter the gate when it is the turn of an app of that weight. Whoever entered calls `gate.leave`, once.

        Raises `Saturated`, and `Unavailable` at once where nobody will be well in time.
        """
        choice = self.choose(call, ())
        if isinstance(choice, Later):
            self._time_left_s(choice, call)
        began = monotonic()
        try:
            await self.gate.wait(call.caller.app, call.deadline, call.parsed.priority, weight)
        finally:
            call.waited_s += monotonic() - began

    async def wait(self, later: Later, call: Call) -> None:
        """Wait until somebody may be asked. Raises `Unavailable` at once where that is too late."""
        left_s = self._time_left_s(later, call)
        call.waited_s += left_s
        await asyncio.sleep(left_s)
        self.gate.admit()

    def _time_left_s(self, later: Later, call: Call) -> float:
        now = monotonic()
        left_s = max(later.recovers_at - now, POLL_S)
        if call.waited_s + left_s <= self.settings.concurrency.max_wait_s and now + left_s < call.deadline:
            return left_s
        again_s = max(later.asked_at - now, 1.0)
        when = "an operator must restore one" if again_s == inf else f"try again in {again_s:.0f} s"
        message = f"No target of the model `{self.name}` can be asked now: {when}."
        raise Unavailable(message, reason="no_target", retry_after_s=None if again_s == inf else again_s)

    def _places(self) -> int:
        """How many calls the model's targets take at once: as many as there are where there are more, since those keep
        their places. One more where none of them may be asked, for the call that is let in to see.
        """
        now = monotonic()
        places = 0
        is_any_well = False
        for target in self.targets:
            load = target.load
            if load.breaker.state == "closed" and target.barred_until <= now:
                places += max(load.limit.limit, load.in_flight)
                is_any_well = True
            else:
                places += load.in_flight
        return places if is_any_well else places + 1


def _only(target: Target) -> Choice:
    return Choice(target, "only" if target.load.breaker.state == "closed" else "probe")


def foreseen_tokens(call: Call) -> int:
    """What a call is expected to use, roughly: the vendor's limits are corrected by what it did."""
    request = call.request
    return call.request_bytes // _BYTES_PER_TOKEN + max(request.max_tokens or 0, request.max_completion_tokens or 0)
