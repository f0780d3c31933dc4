"""The adaptive limit against simulated services: it finds what they can take, and follows it."""

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from simulated_service import Service, Simulation, saturate

from dujiang.core.errors import (
    AppError,
    BadCredential,
    OutOfQuota,
    StaleConnection,
    StreamBroken,
    Throttled,
    Timeout,
    Unavailable,
)
from dujiang.resilience.limiter import AdaptiveLimit, FixedLimit, limit_of, outcome_of
from dujiang.resilience.settings import ConcurrencySettings

notes = st.tuples(
    st.integers(1, 300),
    st.sampled_from(["ok", "overloaded", "failed"]),
    st.none() | st.floats(0.001, 100),
    st.floats(0, 10),
)


@given(st.integers(1, 300), st.lists(notes, max_size=400))
def test_never_below_one_nor_above_what_is_declared(most: int, script: list) -> None:
    now_s = 0.0
    limit = AdaptiveLimit(most, lambda: now_s)
    for in_flight, outcome, first_token_s, passed_s in script:
        now_s += passed_s
        limit.note(in_flight, outcome, first_token_s)
        assert 1 <= limit.limit <= most


def test_ten_thousand_notes() -> None:
    random, now_s = Random(7), 0.0
    limit = AdaptiveLimit(100, lambda: now_s)
    for _ in range(10_000):
        now_s += random.expovariate(10)
        outcome = random.choices(["ok", "overloaded", "failed"], [90, 2, 8])[0]
        limit.note(random.randint(1, 120), outcome, random.choice([None, random.lognormvariate(-1, 1)]))
        assert 1 <= limit.limit <= 100


def _mean_limit(simulation: Simulation, limit: AdaptiveLimit, from_s: int, until_s: int) -> float:
    seen: list[int] = []
    for quarter in range(from_s * 4, until_s * 4):
        simulation.run(quarter / 4)
        seen.append(limit.limit)
    return sum(seen) / len(seen)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(("beyond", "streams"), [("queue", True), ("slow", True), ("refuse", True), ("refuse", False)])
def test_finds_the_capacity_and_follows_its_halving(seed: int, beyond: str, *, streams: bool) -> None:
    """300 calls a second: 60 slots of 0.2 s. The declared limit is four times that."""
    simulation = Simulation()
    service = Service(simulation, 60, beyond, 0.05, 0.15, Random(seed))
    limit = AdaptiveLimit(256, lambda: simulation.now_s)
    simulation.after(0, saturate(service, limit, streams=streams))
    assert _mean_limit(simulation, limit, 25, 35) == pytest.approx(60, rel=0.2)
    service.slots = 30
    assert _mean_limit(simulation, limit, 60, 70) == pytest.approx(30, rel=0.3)
    service.slots = 60
    assert _mean_limit(simulation, limit, 120, 130) == pytest.approx(60, rel=0.25)


def test_whole_answers_without_any_refusal_leave_the_declared_limit() -> None:
    simulation = Simulation()
    service = Service(simulation, 60, "queue", 0.05, 0.15, Random(1))
    limit = AdaptiveLimit(100, lambda: simulation.now_s)
    simulation.after(0, saturate(service, limit, streams=False))
    simulation.run(30)
    assert limit.limit == 100


def test_a_burst_of_refusals_cuts_once() -> None:
    limit = AdaptiveLimit(100, lambda: 0.0)
    for _ in range(40):
        limit.note(80, "overloaded")
    assert limit.limit == 68  # 0.85 x 80, what was really in flight


def test_a_refusal_at_low_load_says_little_about_the_limit() -> None:
    limit = AdaptiveLimit(100, lambda: 0.0)
    limit.note(2, "overloaded")
    assert limit.limit == 85


def test_a_limit_that_is_not_used_does_not_grow() -> None:
    limit = AdaptiveLimit(100, lambda: 0.0)
    limit.note(80, "overloaded")
    for _ in range(1000):
        limit.note(33, "ok")
    assert limit.limit == 68
    for _ in range(1000):
        limit.note(34, "ok")
    assert limit.limit > 68


def test_slower_first_tokens_of_few_calls_do_not_shut_a_target() -> None:
    now_s = 0.0
    limit = AdaptiveLimit(100, lambda: now_s)
    for n in range(2000):
        now_s += 10
        limit.note(5, "ok", 0.3 if n < 1000 else 3.0)
    assert limit.limit == 100


def test_failures_for_other_reasons_teach_nothing() -> None:
    limit = AdaptiveLimit(100, lambda: 0.0)
    limit.note(80, "overloaded")
    for _ in range(1000):
        limit.note(68, "failed")
    assert limit.limit <= 68


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (None, "ok"),
        (Throttled(""), "overloaded"),
        (Unavailable(""), "overloaded"),
        (Timeout(""), "overloaded"),
        (StaleConnection(""), "failed"),
        (BadCredential(""), "failed"),
        (OutOfQuota(""), "failed"),
        (StreamBroken(""), "failed"),
    ],
)
def test_which_errors_are_signs_of_load(error: AppError | None, outcome: str) -> None:
    assert outcome_of(error) == outcome


def test_the_settings_choose() -> None:
    fixed = limit_of(ConcurrencySettings(limit=7, adaptive=False))
    fixed.note(7, "overloaded")
    assert isinstance(fixed, FixedLimit)
    assert fixed.limit == 7
    assert isinstance(limit_of(ConcurrencySettings(limit=7)), AdaptiveLimit)


def test_refusals_for_ever_leave_one() -> None:
    limit = AdaptiveLimit(100, lambda: 0.0)
    for _ in range(10_000):
        limit.note(1, "overloaded")
    assert limit.limit == 1


def test_a_service_that_was_crowded_from_the_start_is_found_out() -> None:
    """No first token ever came without a crowd: only halving the limit shows what it would take."""
    simulation = Simulation()
    service = Service(simulation, 20, "slow", 0.05, 0.15, Random(1))
    limit = AdaptiveLimit(200, lambda: simulation.now_s)
    simulation.after(0, saturate(service, limit))
    assert _mean_limit(simulation, limit, 100, 120) == pytest.approx(20, rel=0.3)


def test_longer_prompts_are_no_crowd() -> None:
    """First tokens take thrice as long from now on, and no fewer calls can be served for it."""
    simulation = Simulation()
    service = Service(simulation, 60, "queue", 0.05, 0.15, Random(1))
    limit = AdaptiveLimit(60, lambda: simulation.now_s)
    simulation.after(0, saturate(service, limit))
    simulation.run(30)
    service.first_token_s *= 3
    least = 60
    for step in range(120):
        simulation.run(30 + step / 4)
        least = min(least, limit.limit)
    assert least >= 10
    assert limit.limit >= 50


def test_what_was_refused_is_not_tried_again_at_once() -> None:
    """A service that takes 40 at once refuses few of its calls while its limit is learnt."""
    limit = AdaptiveLimit(256, lambda: 0.0)
    refused, calls = 0, 0
    for trip in range(600):
        for in_flight in range(1, limit.limit + 1):
            outcome = "ok" if in_flight <= 40 else "overloaded"
            limit.note(limit.limit, outcome)
            if trip > 100:
                calls += 1
                refused += outcome == "overloaded"
    assert 32 <= limit.limit <= 42
    assert refused < 0.008 * calls


def test_a_service_that_grows_is_followed() -> None:
    limit = AdaptiveLimit(256, lambda: 0.0)
    for takes in (20, 80):
        for _ in range(200):
            for in_flight in range(1, limit.limit + 1):
                limit.note(limit.limit, "ok" if in_flight <= takes else "overloaded")
    assert 64 <= limit.limit <= 84
