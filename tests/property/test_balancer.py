"""Balancing holds its promises for whatever targets and loads."""

import random
from bisect import bisect_left
from collections import Counter, deque
from itertools import pairwise
from math import sqrt

import msgspec
import pytest
from balanced import Clock, Target, priced
from hypothesis import given
from hypothesis import strategies as st

from dujiang.core.money import unpriced
from dujiang.core.settings import Limits
from dujiang.resilience.balancer import Balancer, compile_balancers
from dujiang.resilience.ewma import Ewma, PeakEwma
from dujiang.resilience.settings import BalancingSettings
from dujiang.resilience.slow_start import SlowStart
from dujiang.resilience.vendor_limits import VendorLimits

STRATEGIES = ("least_loaded", "weighted", "latency", "cost", "sticky")
weights = st.floats(0.01, 1000)


def compiled(strategy: str, targets: list[Target], clock: Clock, seed: int = 0) -> Balancer[Target]:
    settings = msgspec.convert({"strategy": strategy}, BalancingSettings)
    return compile_balancers(settings, targets, clock, random.Random(seed).random).streamed


@st.composite
def pools(draw: st.DrawFn) -> list[Target]:
    return [
        Target(str(n), draw(weights), draw(st.integers(0, 50)), draw(st.sampled_from([unpriced, priced(2), priced(5)])))
        for n in range(draw(st.integers(1, 8)))
    ]


# ---- every strategy ----------------------------------------------------------------------------------------------


@given(st.sampled_from(STRATEGIES), pools(), st.data())
def test_one_of_the_candidates_is_chosen_whatever_is_known_of_them(
    strategy: str, pool: list[Target], data: st.DataObject
) -> None:
    clock = Clock()
    for target in pool:
        target.load.restored_at = data.draw(st.none() | st.floats(900, 1000))
        if data.draw(st.booleans()):
            target.load.first_token.observe(data.draw(st.floats(0, 100)), clock.now)
    balancer = compiled(strategy, pool, clock)
    for _ in range(5):
        candidates = data.draw(st.lists(st.sampled_from(pool), min_size=1, unique=True))
        assert balancer.choose(candidates, data.draw(st.none() | st.text())) in candidates
        clock.now += data.draw(st.floats(0, 100))


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("size", [1, 2, 3, 4, 9])
def test_ten_thousand_steps_leave_nobody_out(strategy: str, size: int) -> None:
    """Calls come, take their time, targets go and come back; every target that is there is asked sooner or later."""
    draws = random.Random(20)
    clock = Clock(0.0)
    pool = [Target(str(n), draws.uniform(0.5, 4), price=priced(1)) for n in range(size)]
    balancer = compiled(strategy, pool, clock)
    away: dict[Target, float] = {}
    running: deque[tuple[float, Target]] = deque()
    served: Counter[str] = Counter()
    for step in range(10_000):
        clock.now += draws.expovariate(5.0)
        while running and running[0][0] <= clock.now:
            _, target = running.popleft()
            target.load.in_flight -= 1
            target.load.first_token.observe(0.5 + draws.random(), clock.now)
        for target in [target for target, until in away.items() if until <= clock.now]:
            del away[target]
            target.load.restored_at = clock.now
        candidates = [target for target in pool if target not in away]
        chosen = balancer.choose(candidates, f"user-{draws.randrange(500)}")
        assert chosen in candidates
        chosen.load.in_flight += 1
        served[chosen.name] += 1
        running.append((clock.now + 2.0, chosen))
        if len(candidates) > 1 and step % 400 == 399:
            away[draws.choice(candidates)] = clock.now + 20
        assert abs(sum(target.credit for target in pool)) < 1e-6 or strategy == "cost"
    assert sum(target.load.in_flight for target in pool) == len(running)
    assert len(served) == size
    assert min(served.values()) > 10_000 / size / 20


# ---- by weight ---------------------------------------------------------------------------------------------------


@given(st.sampled_from(["least_loaded", "weighted"]), st.lists(weights, min_size=1, max_size=8))
def test_idle_targets_are_asked_by_weight(strategy: str, pool_weights: list[float]) -> None:
    """Smooth turns: each is off its share by less than one call for every target."""
    pool = [Target(str(n), weight) for n, weight in enumerate(pool_weights)]
    balancer = compiled(strategy, pool, Clock())
    served = Counter(balancer.choose(pool).name for _ in range(1000))
    for target in pool:
        assert abs(served[target.name] - 1000 * target.weight / sum(pool_weights)) <= len(pool)


@given(st.lists(st.integers(1, 9), min_size=2, max_size=8), st.integers(0, 5), st.integers(50, 400))
def test_calls_in_flight_are_shared_by_weight(pool_weights: list[int], seed: int, calls: int) -> None:
    pool = [Target(str(n), weight) for n, weight in enumerate(pool_weights)]
    balancer = compiled("least_loaded", pool, Clock(), seed)
    for _ in range(calls):
        balancer.choose(pool).load.in_flight += 1
    for target in pool:
        fair = calls * target.weight / sum(pool_weights)
        assert abs(target.load.in_flight - fair) <= 2 * max(pool_weights) + len(pool)


# ---- sticky ------------------------------------------------------------------------------------------------------


@given(pools(), st.text(), st.data())
def test_a_key_stays_until_its_target_goes(pool: list[Target], key: str, data: st.DataObject) -> None:
    balancer = compiled("sticky", pool, Clock())
    chosen = balancer.choose(pool, key)
    fewer = data.draw(st.permutations([target for target in pool if target is chosen or data.draw(st.booleans())]))
    for target in pool:
        target.load.in_flight = data.draw(st.integers(0, 99))
    assert balancer.choose(fewer, key) is chosen


@given(st.lists(st.floats(0.5, 4), min_size=2, max_size=8), st.integers(0, 10**6), st.data())
def test_only_the_keys_of_a_target_that_goes_are_moved(
    pool_weights: list[float], salt: int, data: st.DataObject
) -> None:
    pool = [Target(f"{salt}-{n}", weight) for n, weight in enumerate(pool_weights)]
    balancer = compiled("sticky", pool, Clock())
    gone = data.draw(st.sampled_from(pool))
    left = [target for target in pool if target is not gone]
    keys = [f"user-{n}" for n in range(600)]
    before = {key: balancer.choose(pool, key) for key in keys}
    moved = {key for key in keys if balancer.choose(left, key) is not before[key]}
    assert moved == {key for key in keys if before[key] is gone}
    share = gone.weight / sum(pool_weights)
    assert abs(len(moved) - 600 * share) <= 5 * sqrt(600 * share * (1 - share)) + 1


@given(st.integers(0, 10**6), st.floats(0, 35), st.floats(0, 35))
def test_keys_come_back_to_a_restored_target_and_stay(salt: int, early_s: float, late_s: float) -> None:
    early_s, late_s = sorted((early_s, late_s))
    clock = Clock()
    pool = [Target(f"{salt}-{n}") for n in range(3)]
    balancer = compiled("sticky", pool, clock)
    homes = {key: balancer.choose(pool, key) for key in map(str, range(200))}
    returned = []
    for elapsed_s in (early_s, late_s):
        pool[0].load.restored_at = 1000.0
        clock.now = 1000.0 + elapsed_s
        returned.append({key for key in homes if balancer.choose(pool, key) is pool[0]})
    assert returned[0] <= returned[1] <= {key for key, home in homes.items() if home is pool[0]}


# ---- slow start and averages -------------------------------------------------------------------------------------


@given(weights, st.lists(st.floats(0, 60), min_size=2))
def test_a_restored_target_only_gains(weight: float, elapsed: list[float]) -> None:
    clock = Clock()
    target = Target("a", weight)
    target.load.restored_at = clock.now
    slow_start = SlowStart(clock)
    seen = []
    for elapsed_s in sorted(elapsed):
        clock.now = 1000.0 + elapsed_s
        seen.append(slow_start.weight(target))
    assert all(early <= late for early, late in pairwise(seen))
    assert all(weight * 0.0999 <= each <= weight for each in seen)


@given(
    st.sampled_from([Ewma, PeakEwma]),
    st.lists(st.tuples(st.floats(0, 1e6), st.floats(-1, 1e4)), min_size=1),
    st.floats(0.01, 1e4),
)
def test_an_average_lies_between_its_samples(
    kind: type[Ewma | PeakEwma], samples: list[tuple[float, float]], decay_s: float
) -> None:
    series = kind(decay_s)
    now = 1000.0
    for n, (sample, passed_s) in enumerate(samples):
        now += passed_s
        series.observe(sample, now)
        seen = [each for each, _ in samples[: n + 1]]
        assert min(seen) <= series.value <= max(seen)
        if kind is PeakEwma:
            assert series.value >= sample


# ---- the vendor's limits -----------------------------------------------------------------------------------------


@given(
    st.integers(1, 30),
    st.integers(1, 500),
    st.lists(st.tuples(st.floats(0, 40), st.integers(0, 120), st.floats(0, 1)), max_size=80),
)
def test_no_minute_holds_more_than_the_limits(rpm: int, tpm: int, calls: list[tuple[float, int, float]]) -> None:
    """Calls that are let in use at most what was expected of them, and say so at some later time."""
    clock = Clock()
    limits = VendorLimits(Limits(rpm=rpm, tpm=tpm), 1, clock)
    passed: list[tuple[float, int]] = []
    for wait_s, asked, part in calls:
        clock.now += wait_s
        tokens = min(asked, tpm)
        if not limits.has_room(tokens):
            at = limits.room_at(tokens)
            assert clock.now < at <= clock.now + 61
            clock.now = at
            assert limits.has_room(tokens)
        taken = limits.take(tokens)
        clock.now += wait_s * part
        used = int(tokens * part)
        limits.correct(taken, used)
        passed.append((clock.now - wait_s * part, used))
    times = [at for at, _ in passed]
    for at in times:
        minute = passed[bisect_left(times, at) : bisect_left(times, at + 60)]
        assert len(minute) <= rpm
        assert sum(used for _, used in minute) <= tpm


@given(st.integers(1, 20), st.lists(st.tuples(st.floats(0, 30), st.integers(0, 99), st.integers(0, 99)), max_size=60))
def test_no_permit_is_lost(limit: int, calls: list[tuple[float, int, int]]) -> None:
    """Whatever was taken and corrected, and however late, after 61 s there is room for all of it again, and no more."""
    clock = Clock()
    limits = VendorLimits(Limits(rpm=limit, tpm=limit), 1, clock)
    open_calls = deque()
    for wait_s, tokens, used in calls:
        clock.now += wait_s
        open_calls.append((limits.take(tokens), used))
        if len(open_calls) > 3:
            limits.correct(*open_calls.popleft())
    while open_calls:
        limits.correct(*open_calls.popleft())
    clock.now += 61
    assert limits.has_room(limit)
    limits.take(limit)
    assert not limits.has_room(1)
