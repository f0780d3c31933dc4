"""The queue in simulated time: bounded, fair by weight, starving nobody, refusing what would come too late."""

from collections import Counter
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from simulated_service import Office, Simulation, poisson

from dujiang.resilience.fair_queue import CLASS_WEIGHTS, Entry, FairQueue, Priority

CAPACITY, MAX_WAIT_S = 6, 10
APPS = ("a", "b", "c", "d")
PRIORITIES: tuple[Priority, ...] = ("high", "normal", "low")


class QueueMachine(RuleBasedStateMachine):
    """Callers come, leave, are served and run out of time; a plain list knows who must be waiting."""

    def __init__(self) -> None:
        super().__init__()
        self.now_s = 0
        self.queue: FairQueue[Entry] = FairQueue(CAPACITY, MAX_WAIT_S)
        self.waiting: list[Entry] = []

    @rule(app=st.sampled_from(APPS), priority=st.sampled_from(PRIORITIES), within_s=st.integers(-1, 20))
    def offer(self, app: str, priority: Priority, within_s: int) -> None:
        entry = Entry(app, self.now_s + within_s, priority)
        was_empty = not self.waiting
        refused = self.queue.offer(entry, self.now_s)
        if refused is not None and refused.entry is not entry:
            assert refused.reason == "evicted"
            assert len(self.waiting) == CAPACITY
            victims = Counter(each.app for each in self.waiting)
            assert victims[refused.entry.app] == max(victims.values()) > victims[app] + 1
            self.waiting.remove(refused.entry)
        if refused is None or refused.entry is not entry:
            self.waiting.append(entry)
        else:
            assert refused.expected_wait_s >= 0
            assert not was_empty or within_s <= 0

    @rule()
    def take(self) -> None:
        entry = self.queue.take()
        if entry is None:
            assert not self.waiting
            return
        self.queue.released(self.now_s)
        peers = [each for each in self.waiting if (each.app, each.priority) == (entry.app, entry.priority)]
        assert entry is peers[0]
        self.waiting.remove(entry)

    @rule(nth=st.integers(0, CAPACITY))
    def leave(self, nth: int) -> None:
        if self.waiting:
            entry = self.waiting.pop(nth % len(self.waiting))
            self.queue.discard(entry)
            self.queue.discard(entry)

    @rule(seconds=st.integers(0, 4))
    def pass_time(self, seconds: int) -> None:
        self.now_s += seconds
        gone = {id(each.entry) for each in self.queue.expire(self.now_s)}
        assert gone == {id(each) for each in self.waiting if each.give_up_s <= self.now_s}
        self.waiting = [each for each in self.waiting if id(each) not in gone]

    @invariant()
    def holds_exactly_who_waits(self) -> None:
        assert {*self.queue.waiting()} == {*self.waiting}
        assert self.queue.size == len(self.waiting) <= CAPACITY
        assert all(each.is_waiting and each.give_up_s - each.queued_s <= MAX_WAIT_S for each in self.waiting)

    @invariant()
    def knows_the_next_expiry(self) -> None:
        due_s = self.queue.next_expiry_s()
        if self.waiting:
            assert due_s is not None
            assert due_s <= min(each.give_up_s for each in self.waiting)
        else:
            assert due_s is None


TestQueue = QueueMachine.TestCase


class _Draws:
    """The rules of the machine, drawn without hypothesis: as long a run as one likes."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.machine = QueueMachine()

    def step(self) -> None:
        random, machine = self.random, self.machine
        chance = random.random()
        if chance < 0.5:
            machine.offer(random.choice(APPS), random.choice(PRIORITIES), random.randint(-1, 20))
        elif chance < 0.75:
            machine.take()
        elif chance < 0.85:
            machine.leave(random.randrange(CAPACITY))
        else:
            machine.pass_time(random.randint(0, 2))
        machine.holds_exactly_who_waits()
        machine.knows_the_next_expiry()


def test_ten_thousand_steps() -> None:
    draws = _Draws(7)
    for _ in range(10_000):
        draws.step()


def jain(shares: list[float]) -> float:
    """Jain's index of fairness: 1 if all shares are equal, 1/n if one has all."""
    return sum(shares) ** 2 / (len(shares) * sum(each**2 for each in shares))


@given(st.lists(st.integers(1, 8), min_size=2, max_size=8), st.integers(0, 2**32))
def test_saturated_apps_are_served_by_weight(weights: list[int], seed: int) -> None:
    """However unequally they come: each app always waits."""
    queue: FairQueue[Entry] = FairQueue(10_000, 1e9)
    random = Random(seed)
    for n, weight in enumerate(weights):
        for _ in range(40 * weight + random.randrange(100)):
            queue.offer(Entry(str(n), 1e9, weight=weight), 0)
    served = Counter(entry.app for _ in range(30 * sum(weights)) if (entry := queue.take()) is not None)
    shares = [served[str(n)] / weight for n, weight in enumerate(weights)]
    assert jain(shares) >= 0.999
    assert max(shares) - min(shares) <= 2


def test_priorities_that_wait_are_served_by_weight_and_none_starves() -> None:
    queue: FairQueue[Entry] = FairQueue(10_000, 1e9)
    for priority in PRIORITIES:
        for n in range(1000):
            queue.offer(Entry(f"{n % 3}", 1e9, priority), 0)
    served = [entry.priority for _ in range(700) if (entry := queue.take()) is not None]
    assert Counter(served) == {"high": 400, "normal": 200, "low": 100}
    assert all("low" in served[n : n + 8] for n in range(690))


def test_a_priority_that_was_away_gains_nothing_by_it() -> None:
    queue: FairQueue[Entry] = FairQueue(10_000, 1e9)
    for _ in range(500):
        queue.offer(Entry("app", 1e9, "high"), 0)
    for _ in range(200):
        queue.take()
    for _ in range(100):
        queue.offer(Entry("app", 1e9, "low"), 0)
    served = Counter(entry.priority for _ in range(100) if (entry := queue.take()) is not None)
    assert abs(served["low"] - 20) <= 1


@given(st.integers(1, 50))
def test_an_app_that_was_away_gains_nothing_by_it(before: int) -> None:
    queue: FairQueue[Entry] = FairQueue(10_000, 1e9)
    for _ in range(200):
        queue.offer(Entry("steady", 1e9), 0)
    for _ in range(before):
        queue.take()
    for _ in range(200):
        queue.offer(Entry("back", 1e9), 0)
    served = Counter(entry.app for _ in range(100) if (entry := queue.take()) is not None)
    assert abs(served["back"] - 50) <= 1


def _office(seed: int, places: int = 30, max_wait_s: float = 5.0, capacity: int = 512) -> Office:
    return Office(Simulation(), FairQueue(capacity, max_wait_s), places, 0.1, Random(seed))


def test_overload_five_times_over() -> None:
    """300 calls a second can be served; 1,500 come for a minute, then 150."""
    office = _office(1)
    poisson(office, 150, 10, lambda: Entry("shop", 1e9))
    poisson(office, 1500, 70, lambda: Entry("shop", 1e9), from_s=10)
    poisson(office, 150, 90, lambda: Entry("shop", 1e9), from_s=70)
    office.simulation.run(100)
    goodput = sum(10 <= each < 70 for each in office.ended_s) / 60
    assert goodput >= 0.85 * 300
    assert max(office.waits_s["shop"]) <= 5.0
    assert office.queue.size == 0
    assert office.inside == 0


def test_after_an_overload_nobody_waits_for_long() -> None:
    office = _office(2)
    poisson(office, 1500, 60, lambda: Entry("crowd", 1e9))
    poisson(office, 150, 80, lambda: Entry("after", 1e9), from_s=65)
    office.simulation.run(64.9)
    refused = office.refused.total()
    office.simulation.run(90)
    assert office.refused.total() == refused
    assert max(office.waits_s["after"]) < 0.1


def test_what_would_come_too_late_is_refused_at_once_and_not_at_its_deadline() -> None:
    office = _office(3, capacity=100_000, max_wait_s=2.0)
    poisson(office, 1500, 60, lambda: Entry("shop", 1e9))
    office.simulation.run(70)
    assert office.refused["late"] > 20 * office.refused["expired"]
    assert sorted(office.waits_s["shop"])[office.served["shop"] // 2] > 1.5


def test_an_app_with_a_twentieth_of_the_load_hardly_notices_the_other() -> None:
    """What it waits and is served for, against running alone; its wait itself is that for two or three places."""

    def mean_wait_s(others: float) -> float:
        office = _office(4)
        if others:
            poisson(office, others, 60, lambda: Entry("heavy", 1e9))
        poisson(office, 75, 60, lambda: Entry("light", 1e9))
        office.simulation.run(70)
        assert len(office.waits_s["light"]) > 0.97 * 75 * 60
        return sum(office.waits_s["light"]) / len(office.waits_s["light"])

    alone_s, together_s = mean_wait_s(0), mean_wait_s(1500)
    assert together_s + 0.1 <= 1.5 * (alone_s + 0.1)
    assert together_s <= 3 / 300


def test_two_hungry_apps_get_equal_shares_though_one_sends_twenty_times_as_much() -> None:
    office = _office(5)
    poisson(office, 6000, 30, lambda: Entry("heavy", 1e9))
    poisson(office, 300, 30, lambda: Entry("light", 1e9))
    office.simulation.run(40)
    assert jain([office.served["heavy"], office.served["light"]]) >= 0.95


@settings(max_examples=20)
@given(st.integers(0, 2**32), st.sampled_from(PRIORITIES))
def test_a_stuck_pool_tells_how_long_it_has_been_stuck(seed: int, priority: Priority) -> None:
    office = _office(seed, places=3)
    poisson(office, 100, 5, lambda: Entry("shop", 1e9, priority))
    office.simulation.run(5)
    newcomer = Entry("shop", 1e9, priority)
    soon_s = office.queue.expected_wait_s(newcomer, 5)
    assert office.queue.expected_wait_s(newcomer, 60) > soon_s > 0


def test_entries_that_left_do_not_stay_in_memory() -> None:
    queue: FairQueue[Entry] = FairQueue(100, 1e9)
    keeper = Entry("keeper", 1e9)
    queue.offer(keeper, 0)
    for n in range(10_000):
        entry = Entry(f"app-{n % 1000}", 1e9)
        queue.offer(entry, 0)
        queue.discard(entry)
    assert len(queue._expiries) <= 20
    for n in range(1_000):
        queue.offer(Entry(f"app-{n}", 1e9), 0)
        queue.take()
    for _ in range(4):
        queue.offer(Entry("keeper", 1e9), 0)
        queue.take()
    assert len(queue._classes["normal"].flows) <= 2


def test_the_weights_are_those_that_are_documented() -> None:
    assert CLASS_WEIGHTS == {"high": 4, "normal": 2, "low": 1}


def test_a_light_app_is_not_refused_for_the_queue_of_a_heavy_one() -> None:
    queue: FairQueue[Entry] = FairQueue(1000, 5)
    for n in range(1, 11):
        queue.offer(Entry("heavy", 1e9), 0)
        queue.released(n * 0.1)
    for _ in range(400):
        queue.offer(Entry("heavy", 1e9), 1)
    assert queue.size < 60  # 5 s at 10 a second
    assert queue.expected_wait_s(Entry("light", 1e9), 1) < 0.5
    assert queue.expected_wait_s(Entry("heavy", 1e9), 1) > 4
