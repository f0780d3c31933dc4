"""Retries are bounded by a share of first attempts and a floor, whatever comes when; simulated time."""

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from dujiang.resilience.retry_budget import FLOOR_PER_S, TTL_S, RetryBudget

RATIO = 0.2


class Simulation:
    """One budget, and how much passed by it."""

    def __init__(self) -> None:
        self.began = self.now = 1000.0
        self.budget = RetryBudget(RATIO, lambda: self.now)
        self.deposits = []
        self.withdrawals = []

    def first(self, client_retries=0):
        before = self.budget.tokens
        self.budget.deposit(client_retries)
        if client_retries:
            assert self.budget.tokens in (pytest.approx(before - 1), pytest.approx(before))
            return
        self.deposits.append(self.now)
        assert self.budget.tokens == pytest.approx(before + RATIO)

    def retry(self):
        before = self.budget.tokens
        paid = self.budget.withdraw()
        if paid:
            self.withdrawals.append(self.now)
            assert self.budget.tokens == pytest.approx(before - 1)
        else:
            assert before < 2  # a part of a token of either kind, at most
        return paid

    def check(self):
        budget = self.budget
        live = sum(self.now - TTL_S <= at for at in self.deposits)
        assert 0 <= budget.tokens <= live * RATIO + FLOOR_PER_S + 1e-6
        assert 0 <= budget._balance == sum(budget._unspent)
        assert min(budget._unspent) >= 0
        assert len(self.withdrawals) <= RATIO * len(self.deposits) + FLOOR_PER_S * (1 + self.now - self.began) + 1e-6


class BudgetMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.simulation = Simulation()

    @rule(seconds=st.sampled_from([0.0, 0.1, 0.34, 1.0, 4.0, TTL_S - 1.0, TTL_S, 1e6]))
    def time_passes(self, seconds):
        self.simulation.now += seconds

    @rule(calls=st.integers(1, 60))
    def calls_come(self, calls):
        for _ in range(calls):
            self.simulation.first()

    @rule(retries=st.integers(1, 3))
    def a_client_repeats(self, retries):
        self.simulation.first(retries)

    @rule(times=st.integers(1, 40))
    def attempts_fail(self, times):
        for _ in range(times):
            self.simulation.retry()

    @invariant()
    def it_is_bounded(self):
        self.simulation.check()


TestBudget = BudgetMachine.TestCase
TestBudget.settings = settings(max_examples=100, stateful_step_count=50, deadline=None)


def test_ten_thousand_steps():
    random, simulation = Random(3), Simulation()
    for step in range(10_000):
        simulation.now += random.expovariate(20)
        simulation.first(0 if random.random() < 0.9 else 1)
        if step // 1000 % 2:
            while random.random() < 0.8 and simulation.retry():
                pass
        if not step % 10:
            simulation.check()
    assert len(simulation.withdrawals) > 100


@pytest.mark.parametrize("calls_per_s", [1, 20, 500])
def test_an_outage_is_not_amplified(calls_per_s):
    """All fail, every call would retry twice, for 60 s after 60 good ones."""
    simulation = Simulation()
    for n in range(120 * calls_per_s):
        simulation.now = simulation.began + n / calls_per_s
        simulation.first()
        if n >= 60 * calls_per_s and simulation.retry():
            simulation.retry()
    saved = RATIO * TTL_S * calls_per_s
    outage = 60 * calls_per_s
    assert len(simulation.withdrawals) <= RATIO * outage + saved + FLOOR_PER_S * 61
    assert len(simulation.withdrawals) >= min(2 * outage, RATIO * outage + FLOOR_PER_S * 60) * 0.95


@given(st.integers(1, 50))
@settings(deadline=None)
def test_what_clients_repeat_deposits_nothing_and_uses_up_what_there_is(times):
    simulation = Simulation()
    for _ in range(40):
        simulation.first()
    there = simulation.budget.tokens
    for _ in range(times):
        simulation.budget.deposit(1)
    assert simulation.budget.tokens == pytest.approx(max(0, there - times))


def test_unused_tokens_are_lost_after_their_time():
    simulation = Simulation()
    for _ in range(100):
        simulation.first()
    assert simulation.budget.tokens == pytest.approx(20 + FLOOR_PER_S)
    simulation.now += TTL_S - 1
    assert simulation.budget.tokens == pytest.approx(20 + FLOOR_PER_S)
    simulation.now += 1
    assert simulation.budget.tokens == pytest.approx(FLOOR_PER_S)


def test_a_quiet_model_has_its_floor():
    simulation = Simulation()
    for _ in range(100):
        simulation.now += 1 / FLOOR_PER_S + 1e-9
        assert simulation.retry()


def test_what_is_oldest_is_spent_first():
    simulation = Simulation()
    for second in range(5):
        simulation.now = simulation.began + second
        for _ in range(10):
            simulation.first()
    for _ in range(3):
        assert simulation.retry()
    simulation.now = simulation.began + TTL_S + 1
    assert simulation.budget.tokens == pytest.approx(6 + FLOOR_PER_S)


def test_what_is_oldest_is_spent_first_after_a_pause_too():
    simulation = Simulation()
    for second in (3, TTL_S):
        simulation.now = simulation.began + second
        for _ in range(10):
            simulation.first()
    assert simulation.retry()
    simulation.now = simulation.began + 3 + TTL_S
    assert simulation.budget.tokens == pytest.approx(2 + FLOOR_PER_S)


def test_a_deposit_does_not_fall_in_with_one_that_is_lost():
    simulation = Simulation()
    simulation.budget.deposit()
    simulation.now += TTL_S
    simulation.budget.deposit()
    assert simulation.budget.tokens == pytest.approx(RATIO + FLOOR_PER_S)


def test_another_share_holds_from_then_on():
    simulation = Simulation()
    simulation.budget.apply(1.0)
    simulation.budget.deposit()
    assert simulation.budget.tokens == pytest.approx(1 + FLOOR_PER_S)
