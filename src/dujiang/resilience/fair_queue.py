"""Who waits for a place, who is next, and who is told at once that it would wait in vain.

Plain and synchronous: time comes in as `now_s`, on a monotonic clock, and nobody is woken here (`gate.py` does that).
"""

import heapq
from collections import OrderedDict
from collections.abc import Iterator
from itertools import count
from typing import Generic, Literal, TypeVar

from msgspec import Struct

from dujiang.core.call import Priority
from dujiang.resilience.release_rate import ReleaseRate

Reason = Literal["full", "late", "evicted", "expired"]
"""Why an entry is refused: no room to wait; it could not be served in time; it made room for an app with far less than
its share; its time has passed."""

CLASS_WEIGHTS: dict[Priority, float] = {"high": 4.0, "normal": 2.0, "low": 1.0}
"""How places are divided among the priorities that wait: none ever gets nothing."""

_FAR_LESS = 0.5
"""An app with at most this part of its share of a full queue may take a place of the app that has most."""


class Entry:
    """A call that waits. `deadline_s` is when its caller gives up; `weight` its app's share among apps."""

    __slots__ = ("app", "deadline_s", "give_up_s", "is_waiting", "priority", "queued_s", "weight")

    def __init__(self, app: str, deadline_s: float, priority: Priority = "normal", weight: float = 1.0) -> None:
        self.app = app
        self.deadline_s = deadline_s
        self.priority: Priority = priority
        self.weight = weight
        self.is_waiting = False
        self.queued_s = 0.0
        self.give_up_s = 0.0


E = TypeVar("E", bound=Entry)


class Refused(Struct, Generic[E], frozen=True):
    """An entry that gets no place, and in how many seconds one could be expected."""

    entry: E
    reason: Reason
    expected_wait_s: float


class _Flow(Generic[E]):
    """The waiting entries of one app in one class, first come first. `tag` is the virtual time of its next turn."""

    __slots__ = ("tag", "waiting", "weight")

    def __init__(self) -> None:
        self.waiting: OrderedDict[E, None] = OrderedDict()
        self.weight = 1.0
        self.tag = 0.0


class _Class(Generic[E]):
    """One priority's apps, by start-time fair queueing (Goyal, Vin, Cheng 1996).

    An app's turn has the virtual start time max(now, its last turn's finish), and a turn finishes 1 / weight later; the
    earliest start is served, and is the virtual time of now. An app that no longer waits stays in `turns` until the
    time of its last finish: that it cannot come back for a second turn before the others had theirs.
    """

    __slots__ = ("active_weight", "flows", "numbers", "size", "tag", "turns", "virtual", "weight")

    def __init__(self, weight: float) -> None:
        self.weight = weight
        self.tag = 0.0
        self.flows: dict[str, _Flow[E]] = {}
        self.turns: list[tuple[float, int, str]] = []
        self.numbers = count()
        self.virtual = 0.0
        self.active_weight = 0.0
        self.size = 0

    def add(self, entry: E) -> None:
        flow = self.flows.get(entry.app)
        if flow is None:
            flow = self.flows[entry.app] = _Flow()
            flow.tag = self.virtual
            heapq.heappush(self.turns, (flow.tag, next(self.numbers), entry.app))
        if not flow.waiting:
            flow.weight = entry.weight
            self.active_weight += flow.weight
        flow.waiting[entry] = None
        self.size += 1

    def remove(self, entry: E) -> None:
        flow = self.flows[entry.app]
        del flow.waiting[entry]
        self._left(flow)

    def take(self) -> E:
        """The next entry. There must be one."""
        while True:
            tag, _, app = self.turns[0]
            flow = self.flows[app]
            if flow.waiting:
                break
            heapq.heappop(self.turns)
            del self.flows[app]
        self.virtual = tag
        flow.tag = tag + 1 / flow.weight
        heapq.heapreplace(self.turns, (flow.tag, next(self.numbers), app))
        entry, _ = flow.waiting.popitem(last=False)
        self._left(flow)
        return entry

    def _left(self, flow: _Flow[E]) -> None:
        self.size -= 1
        if not flow.waiting:
            self.active_weight -= flow.weight
        if not self.size:
            self.active_weight = 0.0
            self.flows.clear()
            self.turns.clear()


class FairQueue(Generic[E]):
    """At most `capacity` entries, each for at most `max_wait_s` seconds.

    Places are divided by weight among the priorities that wait (`CLASS_WEIGHTS`), and within each by weight among its
    apps. All is O(log n) in the apps that wait, but for making room in a full queue, which looks at every app.
    """

    def __init__(self, capacity: int, max_wait_s: float) -> None:
        self.capacity = capacity
        self.max_wait_s = max_wait_s
        self.size = 0
        self.rate = ReleaseRate()
        self._classes: dict[Priority, _Class[E]] = {name: _Class(weight) for name, weight in CLASS_WEIGHTS.items()}
        self._virtual = 0.0
        self._numbers = count()
        self._expiries: list[tuple[float, int, E]] = []

    def offer(self, entry: E, now_s: float) -> Refused[E] | None:
        """Let `entry` wait. What comes back is refused instead: `entry` itself, or one that has to make room for it.

        Where nobody waits, an entry is never refused for what the rate foretells: else a rate that was low once could
        keep everybody out, and nothing would ever correct it.
        """
        entry.queued_s = now_s
        entry.give_up_s = min(entry.deadline_s, now_s + self.max_wait_s)
        expected_s = self.expected_wait_s(entry, now_s)
        if entry.give_up_s <= now_s or (self.size and now_s + expected_s > entry.give_up_s):
            return Refused(entry, "late", expected_s)
        evicted: Refused[E] | None = None
        if self.size >= self.capacity:
            victim = self._victim_for(entry)
            if victim is None:
                return Refused(entry, "full", expected_s)
            self.discard(victim)
            evicted = Refused(victim, "evicted", expected_s)
        self._add(entry, now_s)
        return evicted

    def take(self) -> E | None:
        """The entry whose turn it is; it no longer waits. None if nobody does."""
        if not self.size:
            return None
        chosen = min((each for each in self._classes.values() if each.size), key=_tag)
        self._virtual = chosen.tag
        chosen.tag += 1 / chosen.weight
        entry = chosen.take()
        self._forget(entry)
        return entry

    def discard(self, entry: E) -> None:
        """`entry` no longer wants a place. Nothing happens if it does not wait."""
        if entry.is_waiting:
            self._classes[entry.priority].remove(entry)
            self._forget(entry)

    def expire(self, now_s: float) -> list[Refused[E]]:
        """Drop the entries whose time has passed."""
        expired: list[Refused[E]] = []
        while self._expiries and self._expiries[0][0] <= now_s:
            entry = heapq.heappop(self._expiries)[2]
            if entry.is_waiting:
                self.discard(entry)
                expired.append(Refused(entry, "expired", self.expected_wait_s(entry, now_s)))
        return expired

    def next_expiry_s(self) -> float | None:
        """When `expire` has something to do, at the earliest."""
        return self._expiries[0][0] if self._expiries else None

    def released(self, now_s: float) -> None:
        """A place has become free while somebody waits: that is the rate at which the queue moves."""
        self.rate.note(now_s)

    def expected_wait_s(self, entry: E, now_s: float) -> float:
        """How long `entry` would wait if it came now; 0 as long as no rate is known.

        The least of two bounds: the whole queue ahead at the whole rate, and its own app's entries ahead at the app's
        share of the rate.
        """
        interval_s = self.rate.interval_s(now_s)
        mine = self._classes[entry.priority]
        flow = mine.flows.get(entry.app)
        ahead = len(flow.waiting) if flow is not None else 0
        apps = mine.active_weight if ahead else mine.active_weight + entry.weight
        classes = mine.weight + sum(each.weight for each in self._classes.values() if each.size and each is not mine)
        share = entry.weight / apps * mine.weight / classes
        return min((ahead + 1) / share, self.size + 1) * interval_s

    def waiting(self) -> Iterator[E]:
        """All entries that wait, by priority and app."""
        for each in self._classes.values():
            for flow in each.flows.values():
                yield from flow.waiting

    def _add(self, entry: E, now_s: float) -> None:
        if not self.size:
            self.rate.resume(now_s)
        mine = self._classes[entry.priority]
        if not mine.size:
            mine.tag = max(mine.tag, self._virtual)
        mine.add(entry)
        entry.is_waiting = True
        self.size += 1
        heapq.heappush(self._expiries, (entry.give_up_s, next(self._numbers), entry))

    def _forget(self, entry: E) -> None:
        """Its place among the expiries is cleared when more than half of them are of entries that have gone."""
        entry.is_waiting = False
        self.size -= 1
        if not self.size:
            self._expiries.clear()
        elif len(self._expiries) > 2 * self.size + 16:
            self._expiries = [each for each in self._expiries if each[2].is_waiting]
            heapq.heapify(self._expiries)

    def _victim_for(self, newcomer: E) -> E | None:
        """The last entry of the app that has most for its weight, if the newcomer's has far less than its share."""
        waiting: dict[str, int] = {newcomer.app: 0}
        weights: dict[str, float] = {newcomer.app: newcomer.weight}
        for each in self._classes.values():
            for app, flow in each.flows.items():
                if flow.waiting:
                    waiting[app] = waiting.get(app, 0) + len(flow.waiting)
                    weights[app] = flow.weight
        share = self.capacity * newcomer.weight / sum(weights.values())
        if waiting[newcomer.app] + 1 > _FAR_LESS * share:
            return None
        greediest = max(waiting, key=lambda app: waiting[app] / weights[app])
        lowest_first = reversed(self._classes.values())
        flows = (each.flows.get(greediest) for each in lowest_first)
        return next((next(reversed(flow.waiting)) for flow in flows if flow is not None and flow.waiting), None)


def _tag(each: _Class[E]) -> float:
    return each.tag
