"""A configured model: its targets, and which of them is asked next."""

import asyncio
from collections.abc import Callable, Collection, Sequence
from time import monotonic
from typing import NamedTuple

from dujiang.core.call import Call, One, Plan
from dujiang.core.errors import AppError, Unavailable
from dujiang.resilience.balancer import Balancers
from dujiang.resilience.ejection import usable
from dujiang.resilience.fair_queue import FairQueue
from dujiang.resilience.gate import Gate, Waiting
from dujiang.resilience.retry_budget import RetryBudget
from dujiang.resilience.settings import ResilienceSettings
from dujiang.resilience.sticky import sticky_key
from dujiang.resilience.target import Target

_BYTES_PER_TOKEN = 4


class Choice(NamedTuple):
    """Whom to ask. `is_last_resort`: it is asked although it is left alone, because nobody else is there."""

    target: Target
    is_last_resort: bool


class Model:
    """A model as callers name it, and the plan for asking it by its name; `total_s` is the most that a call may take.

    When it has no target to ask, `missing` is the error that says what an operator must do. `fallbacks` are the models
    that are asked when it cannot answer, in order.
    """

    __slots__ = (
        "_balancers",
        "_sticks",
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
    ) -> None:
        waiting = FairQueue[Waiting](settings.concurrency.queue, settings.concurrency.max_wait_s)
        self.gate = Gate(waiting, self._places)
        self.name = name
        self.version = version
        self.targets = targets
        self.missing = missing
        self.settings = settings
        self.retries = retries
        self.total_s = settings.timeouts.total_s
        self.fallbacks = settings.fallbacks.get(name, ())
        self.plan = Plan((One(name),), name, "named")
        self._balancers = balancers
        self._sticks = settings.balancing.strategy == "sticky"

    def choose(self, call: Call, tried: Collection[Target], clock: Callable[[], float] = monotonic) -> Choice | float:
        """Whom to ask, or the moment at which somebody may be asked; infinite when only an operator can tell.

        Who was tried already is asked again only when nobody else is left.
        """
        now = clock()
        pool = usable(self.targets, self.settings.breaker.max_ejected_ratio, now)
        tokens = foreseen_tokens(call)
        ready = [target for target in pool.ready if target.has_room(tokens)]
        fresh = [target for target in ready if target not in tried] if tried else ready
        candidates = fresh or ready
        if candidates:
            if len(candidates) == 1:
                return Choice(candidates[0], is_last_resort=False)
            balancer = self._balancers.streamed if call.request.stream else self._balancers.whole
            key = sticky_key(call.parsed.user, call.caller) if self._sticks else None
            return Choice(balancer.choose(candidates, key), is_last_resort=False)
        for target in pool.last_resort:
            if target.load.breaker.allows(is_last_resort=True) and target.has_room(tokens):
                return Choice(target, is_last_resort=True)
        if pool.ready:
            return min(target.room_at(tokens, now) for target in pool.ready)
        return pool.recovers_at

    def _places(self) -> int:
        """How many calls the targets that may be asked take at once; one where none may, for its probe."""
        places = 0
        for target in self.targets:
            load = target.load
            if load.breaker.state == "closed":
                places += load.limit.limit
        return places or 1

    async def wait(self, until: float, call: Call) -> None:
        """Wait for the moment at which somebody may be asked. Raises `Unavailable` at once where that is too late."""
        now = monotonic()
        left_s = until - now
        if left_s > self.settings.concurrency.max_wait_s or until >= call.deadline:
            raise self.unavailable(left_s)
        await asyncio.sleep(max(left_s, 0.001))

    def unavailable(self, left_s: float) -> Unavailable:
        """The error of a model of which no target may be asked now."""
        is_known = left_s < 86_400.0
        again = f"try again in {max(left_s, 1.0):.0f} s" if is_known else "an operator must mend it"
        return Unavailable(
            f"No target of the model `{self.name}` can be asked now: {again}.",
            reason="no_target",
            retry_after_s=max(left_s, 1.0) if is_known else None,
        )


def foreseen_tokens(call: Call) -> int:
    """What a call is expected to use, roughly: the vendor's limits are corrected by what it did."""
    request = call.request
    return call.request_bytes // _BYTES_PER_TOKEN + max(request.max_tokens or 0, request.max_completion_tokens or 0)
