"""The door to one model's targets: straight through while there is room, else the queue.

The seam to the balancer is one number, `places()`: how many calls the targets that may be asked now take at once, the
sum of their limits. The gate counts who is inside, so that a place which is promised to somebody who has not woken yet
is not given away; while no more than `places()` are inside, some target has room, and the balancer finds it.

    if not gate.try_enter():
        await gate.wait(app, call.deadline, priority)
    try:
        ...
    finally:
        gate.leave()

When `places()` grows without a call having left (a target recovers, a limit grows), whoever made it so calls `admit`.
"""

import asyncio
from asyncio import Future, TimerHandle
from collections.abc import Callable
from time import monotonic

from dujiang.core.call import Priority
from dujiang.core.errors import Saturated
from dujiang.resilience.fair_queue import Entry, FairQueue, Reason, Refused

_MESSAGES: dict[Reason, str] = {
    "full": "All places of this model are taken and too many calls wait already. Try again later.",
    "late": "All places of this model are taken, and none would become free in time. Try again later.",
    "evicted": "All places of this model are taken, and this app has too many calls waiting. Try again later.",
    "expired": "All places of this model are taken, and none became free in time. Try again later.",
}


class Waiting(Entry):
    """An entry and the future that tells its caller: done when it may enter, failed when it is refused."""

    __slots__ = ("told",)

    def __init__(self, app: str, deadline_s: float, priority: Priority, weight: float, told: "Future[None]") -> None:
        super().__init__(app, deadline_s, priority, weight)
        self.told = told


class Gate:
    """Lets in as many as `places()` says, and lets the others wait in `queue`. For one event loop."""

    __slots__ = ("_clock", "_places", "_queue", "_timer", "_timer_s", "inside", "refused")

    def __init__(
        self, queue: FairQueue[Waiting], places: Callable[[], int], clock: Callable[[], float] = monotonic
    ) -> None:
        self._queue = queue
        self._places = places
        self._clock = clock
        self._timer: TimerHandle | None = None
        self._timer_s = 0.0
        self.inside = 0
        self.refused: dict[Reason, int] = {}
        """How many were refused, by why."""

    def apply(self, places: Callable[[], int], capacity: int, max_wait_s: float) -> None:
        """Go on by other settings, as after a reload. Who waits already waits on, for as long as was promised."""
        self._places = places
        self._queue.capacity = capacity
        self._queue.max_wait_s = max_wait_s
        self.admit()

    @property
    def waiting(self) -> int:
        """How many wait."""
        return self._queue.size

    def try_enter(self) -> bool:
        """Enter if there is room and nobody waits. Whoever entered calls `leave`, once."""
        if self._queue.size or self.inside >= self._places():
            return False
        self.inside += 1
        return True

    async def wait(self, app: str, deadline_s: float, priority: Priority = "normal", weight: float = 1.0) -> None:
        """Enter when it is the app's turn. Whoever entered calls `leave`, once.

        Raises `Saturated`, with the expected wait as `retry_after_s`: at once if a place would come too
        late or too many wait, at `deadline_s` or after the queue's longest wait if none has come by then, or when this
        call must make room for another app's.
        """
        told = asyncio.get_running_loop().create_future()
        entry = Waiting(app, deadline_s, priority, weight, told)
        refused = self._queue.offer(entry, self._clock())
        if refused is not None:
            if refused.entry is entry:
                raise self._error(refused)
            self._refuse(refused)
        self.admit()
        self._set_timer()
        try:
            await told
        except BaseException:
            self._give_up(entry)
            raise

    def leave(self) -> None:
        """Somebody who had entered has gone; the next may enter."""
        self.inside -= 1
        if self._queue.size:
            self._queue.released(self._clock())
            self.admit()

    def admit(self) -> None:
        """Let in whoever waits, as far as there is room. A caller that was cancelled but does not know yet is passed
        over.
        """
        while self._queue.size and self.inside < self._places():
            entry = self._queue.take()
            if entry is not None and not entry.told.done():
                self.inside += 1
                entry.told.set_result(None)

    def _give_up(self, entry: Waiting) -> None:
        """A waiting caller was cancelled. The place it was given at that moment goes to the next."""
        if not entry.told.done() or entry.told.cancelled():
            self._queue.discard(entry)
        elif entry.told.exception() is None:
            self.leave()

    def _set_timer(self) -> None:
        """One timer for all, at the first expiry."""
        due_s = self._queue.next_expiry_s()
        if due_s is None or (self._timer is not None and self._timer_s <= due_s):
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer_s = due_s
        self._timer = asyncio.get_running_loop().call_later(max(due_s - self._clock(), 0.0), self._expire)

    def _expire(self) -> None:
        self._timer = None
        for refused in self._queue.expire(self._clock()):
            self._refuse(refused)
        self._set_timer()

    def _refuse(self, refused: Refused[Waiting]) -> None:
        told = refused.entry.told
        if not told.done():
            told.set_exception(self._error(refused))

    def _error(self, refused: Refused[Waiting]) -> Saturated:
        reason = refused.reason
        self.refused[reason] = self.refused.get(reason, 0) + 1
        return Saturated(_MESSAGES[reason], reason="queue", retry_after_s=refused.expected_wait_s)
