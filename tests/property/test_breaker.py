"""A breaker in simulated time, held against a model that keeps every outcome and every ticket in plain lists."""

from random import Random

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from dujiang.resilience.backoff import JITTER
from dujiang.resilience.breaker import LAST_RESORT_PAUSE_S, MAX_AGE_S, PROBE_LEASE_S, SLOW_RATIO, Breaker
from dujiang.resilience.settings import BreakerSettings

SETTINGS = BreakerSettings(window=8, min_calls=3, failure_ratio=0.5, open_s=10, max_open_s=60, probes=2)
SHORTEST_S = SETTINGS.open_s * (1 - JITTER)


class Simulation:
    """One breaker, its clock, the calls inside, and what a reader of the contract would expect of it."""

    def __init__(self, seed: int) -> None:
        self.now = 1000.0
        self.told = []
        self.breaker = Breaker(
            SETTINGS, lambda: self.now, Random(seed).random, lambda state, reason: self.told.append(state)
        )
        self.calls = []  # (ticket, generation, entered at)
        self.outcomes = []  # (when, failed, slow) since it closed
        self.generation = 0
        self.state = "closed"
        self.openings = 0

    def probes(self):
        """The calls inside that were let in to probe and are not taken for lost."""
        live = [call for call in self.calls if self.state == "half_open" and call[1] == self.generation]
        return live if live and self.now < max(call[2] for call in live) + PROBE_LEASE_S else []

    def enter(self, is_last_resort=False):
        breaker, state, retry_at, probes = self.breaker, self.state, self.breaker.retry_at, len(self.probes())
        allowed = breaker.allows(is_last_resort=is_last_resort)
        ticket = breaker.enter(is_last_resort=is_last_resort)
        assert allowed == (ticket is not None)
        due = self.now >= retry_at and probes < SETTINGS.probes
        alone = is_last_resort and not probes and self.now >= breaker.last_resort_at
        assert allowed == (state == "closed" or due or alone)
        if ticket is not None:
            if state == "open":
                self.changes("half_open")
            if state == "half_open" and not probes:
                self.calls = [call for call in self.calls if call[1] != self.generation]
            self.calls.append((ticket, self.generation, self.now))

    def report(self, which, outcome):
        ticket, generation, _ = call = self.calls.pop(which % len(self.calls))
        retry_at = self.breaker.retry_at
        match outcome:
            case "good":
                self.breaker.succeed(ticket)
            case "slow":
                self.breaker.succeed(ticket, is_slow=True)
            case "failed":
                self.breaker.fail(ticket, "upstream_error")
            case _:
                self.breaker.cancel(ticket)
        if generation != self.generation or outcome == "cancelled":
            return
        if self.state == "closed":
            self.outcomes.append((self.now, outcome == "failed", outcome == "slow"))
            if outcome != "good" and self.is_bad():
                self.opens(self.now)
        elif self.state == "half_open" and call:
            self.changes("closed") if outcome == "good" else self.opens(retry_at)

    def is_bad(self):
        counted = [each for each in self.outcomes[-SETTINGS.window :] if each[0] >= self.now - MAX_AGE_S]
        failed, slow = sum(each[1] for each in counted), sum(each[2] for each in counted)
        ratio = SETTINGS.failure_ratio
        return len(counted) >= SETTINGS.min_calls and max(failed / ratio, slow / SLOW_RATIO) >= len(counted)

    def opens(self, before):
        self.changes("open")
        if self.now < before:
            assert self.breaker.retry_at == before
        else:
            assert SHORTEST_S <= self.breaker.retry_at - self.now <= SETTINGS.max_open_s
            self.openings += 1
        assert self.breaker.last_resort_at == self.now + LAST_RESORT_PAUSE_S

    def changes(self, state):
        self.generation += 1
        self.outcomes = []
        self.state = state
        assert self.told.pop() == state

    def adopt(self, for_s):
        before = self.breaker.retry_at
        self.breaker.adopt("open", self.now + for_s, "upstream_error")
        assert self.breaker.retry_at >= before
        assert self.breaker.retry_at <= max(before, self.now + SETTINGS.max_open_s)
        if self.breaker.retry_at > before:
            self.generation += 1
            self.outcomes = []
            self.state = "open"

    def order(self, word):
        getattr(self.breaker, word)(*(() if word == "restore" else ("maintenance",)))
        self.changes({"restore": "closed", "drain": "drained", "eject": "ejected"}[word])

    def check(self):
        assert self.breaker.state == self.state
        assert self.told == []
        assert (self.breaker.reason is None) == (self.state == "closed")
        assert len(self.probes()) <= SETTINGS.probes
        assert len(self.breaker._inside) <= SETTINGS.probes
        assert len(self.breaker._outcomes) <= SETTINGS.window
        if self.state in {"open", "half_open"} and not self.probes() and self.now >= self.breaker.retry_at:
            assert self.breaker.allows()  # no permit was lost


class BreakerMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.simulation = Simulation(7)

    @rule(seconds=st.sampled_from([0.0, 0.5, 1.0, 12.0, 70.0, MAX_AGE_S, PROBE_LEASE_S]))
    def time_passes(self, seconds):
        self.simulation.now += seconds

    @rule(is_last_resort=st.booleans())
    def a_call_comes(self, is_last_resort):
        self.simulation.enter(is_last_resort)

    @rule(outcomes=st.lists(st.sampled_from(["good", "slow", "failed"]), min_size=1, max_size=12))
    def calls_come_and_end(self, outcomes):
        for outcome in outcomes:
            before = len(self.simulation.calls)
            self.simulation.enter()
            if len(self.simulation.calls) > before:
                self.simulation.report(-1, outcome)

    @precondition(lambda self: self.simulation.calls)
    @rule(which=st.integers(0, 9), outcome=st.sampled_from(["good", "slow", "failed", "cancelled"]))
    def a_call_ends(self, which, outcome):
        self.simulation.report(which, outcome)

    @rule(for_s=st.sampled_from([-5.0, 5.0, 40.0, 1e9]))
    def another_process_tells(self, for_s):
        self.simulation.adopt(for_s)

    @rule(word=st.sampled_from(["restore", "restore", "drain", "eject"]))
    def an_operator_tells(self, word):
        self.simulation.order(word)

    @invariant()
    def it_is_as_told(self):
        self.simulation.check()


TestBreaker = BreakerMachine.TestCase
TestBreaker.settings = settings(max_examples=150, stateful_step_count=60, deadline=None)


def test_ten_thousand_steps():
    random, simulation = Random(20), Simulation(21)
    for step in range(10_000):
        simulation.now += random.expovariate(1.0)
        failing = 0.9 if step // 200 % 2 else 0.1  # an outage every other while
        if random.random() < 0.6:
            simulation.enter(random.random() < 0.2)
        elif simulation.calls:
            drawn = random.random()
            outcome = (
                "cancelled" if drawn < 0.1 else random.choices(["failed", "slow", "good"], [failing, 0.05, 0.6])[0]
            )
            simulation.report(random.randrange(99), outcome)
        if random.random() < 0.005:
            simulation.adopt(random.uniform(-5, 90))
        simulation.check()
    assert simulation.openings > 50


def test_a_429_never_opens():
    simulation = Simulation(1)
    for _ in range(10_000):
        simulation.now += 0.01
        simulation.enter()
        simulation.report(0, "cancelled")
        simulation.check()
    assert simulation.state == "closed"
