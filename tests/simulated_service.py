"""A service and its callers in simulated time: events in a heap, no clock, no task."""

import heapq
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count
from random import Random

from dujiang.resilience.fair_queue import Entry, FairQueue
from dujiang.resilience.limiter import Limit


class Simulation:
    """Runs what is due, in the order of its time; among equals in the order in which it was planned."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self._numbers = count()
        self._events: list[tuple[float, int, Callable[[], None]]] = []

    def after(self, delay_s: float, event: Callable[[], None]) -> None:
        heapq.heappush(self._events, (self.now_s + delay_s, next(self._numbers), event))

    def run(self, until_s: float) -> None:
        while self._events and self._events[0][0] <= until_s:
            self.now_s, _, event = heapq.heappop(self._events)
            event()
        self.now_s = until_s


@dataclass
class Service:
    """Serves `slots` calls at once. `beyond`: what becomes of more: they `queue` for a slot, all `slow` down, or they
    are refused (429, after 20 ms).
    """

    simulation: Simulation
    slots: int
    beyond: str
    first_token_s: float
    rest_s: float
    random: Random
    spread: float = 0.2
    in_flight: int = 0
    _busy: int = 0
    _queue: list[tuple[Callable[[float], None], Callable[[bool], None], float]] = field(default_factory=list)

    def call(self, first: Callable[[float], None], end: Callable[[bool], None]) -> None:
        """`first` is told the time to first token, `end` whether it went well."""
        self.in_flight += 1
        if self.beyond == "refuse" and self.in_flight > self.slots:
            self.simulation.after(0.02, lambda: self._end(end, is_well=False))
        elif self.beyond == "queue" and self._busy >= self.slots:
            self._queue.append((first, end, self.simulation.now_s))
        else:
            self._start(first, end, self.simulation.now_s)

    def _start(self, first: Callable[[float], None], end: Callable[[bool], None], came_s: float) -> None:
        self._busy += 1
        crowd = max(1.0, self.in_flight / self.slots) if self.beyond == "slow" else 1.0
        first_s = self.first_token_s * crowd * self.random.lognormvariate(0, self.spread)
        rest_s = self.rest_s * crowd * self.random.lognormvariate(0, self.spread)
        self.simulation.after(first_s, lambda: first(self.simulation.now_s - came_s))
        self.simulation.after(first_s + rest_s, lambda: self._done(end))

    def _done(self, end: Callable[[bool], None]) -> None:
        self._busy -= 1
        while self._queue and self._busy < self.slots:
            self._start(*self._queue.pop(0))
        self._end(end, is_well=True)

    def _end(self, end: Callable[[bool], None], *, is_well: bool) -> None:
        self.in_flight -= 1
        end(is_well)


def saturate(service: Service, limit: Limit, *, streams: bool = True) -> Callable[[], None]:
    """Always as many calls as `limit` allows. Call what comes back once to begin."""

    def fill() -> None:
        while service.in_flight < limit.limit:
            service.call(first, end)

    def first(first_token_s: float) -> None:
        if streams:
            limit.note(service.in_flight, "ok", first_token_s)

    def end(is_well: bool) -> None:
        if not is_well:
            limit.note(service.in_flight + 1, "overloaded")
        elif not streams:
            limit.note(service.in_flight + 1, "ok")
        service.simulation.after(0, fill)

    return fill


@dataclass
class Office:
    """A pool of `places` behind a fair queue; every served call takes `service_s` on average."""

    simulation: Simulation
    queue: FairQueue[Entry]
    places: int
    service_s: float
    random: Random
    inside: int = 0
    served: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    waits_s: dict[str, list[float]] = field(default_factory=dict)
    ended_s: list[float] = field(default_factory=list)

    def arrive(self, entry: Entry) -> None:
        now_s = self.simulation.now_s
        if not self.queue.size and self.inside < self.places:
            entry.queued_s = now_s
            self._serve(entry)
            return
        refused = self.queue.offer(entry, now_s)
        if refused is not None:
            self.refused[refused.reason] += 1
        if entry.is_waiting:
            self.simulation.after(entry.give_up_s - now_s, self._expire)

    def _expire(self) -> None:
        for refused in self.queue.expire(self.simulation.now_s):
            self.refused[refused.reason] += 1

    def _serve(self, entry: Entry) -> None:
        self.inside += 1
        self.served[entry.app] += 1
        self.waits_s.setdefault(entry.app, []).append(self.simulation.now_s - entry.queued_s)
        self.simulation.after(self.service_s * self.random.lognormvariate(-0.125, 0.5), self._leave)

    def _leave(self) -> None:
        self.inside -= 1
        self.ended_s.append(self.simulation.now_s)
        if self.queue.size:
            self.queue.released(self.simulation.now_s)
        entry = self.queue.take()
        if entry is not None:
            self._serve(entry)


def poisson(office: Office, per_s: float, until_s: float, entry: Callable[[], Entry], *, from_s: float = 0.0) -> None:
    """Calls that come at random, `per_s` on average."""
    simulation = office.simulation

    def come() -> None:
        if simulation.now_s < until_s:
            office.arrive(entry())
            simulation.after(office.random.expovariate(per_s), come)

    simulation.after(from_s + office.random.expovariate(per_s), come)
