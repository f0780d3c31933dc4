"""Breakers take targets out of a pool, up to a share of it, and never all."""

from math import inf

import pytest

from dujiang.resilience.breaker import LAST_RESORT_PAUSE_S, Breaker
from dujiang.resilience.ejection import usable
from dujiang.resilience.settings import BreakerSettings


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


class Member:
    def __init__(self, name, *breakers):
        self.name = name
        self.breakers = breakers
        self.barred_until = 0.0

    def __repr__(self):
        return self.name


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def members(clock):
    return [Member(name, Breaker(BreakerSettings(), clock, lambda: 0.5)) for name in "abcd"]


def fail(member):
    for _ in range(5):
        member.breakers[0].fail(member.breakers[0].enter(), "upstream_error")


def names(members):
    return "".join(each.name for each in members)


def test_a_pool_that_is_well_is_handed_back_as_it_is(members, clock):
    pool = usable(members, 0.5, clock.now)
    assert pool.ready is members
    assert pool.recovers_at <= clock.now


def test_what_fails_is_out_up_to_the_cap_and_the_soonest_to_recover_is_the_last_resort(members, clock):
    for at, member in enumerate(members[:3]):
        clock.now = 100.0 + at
        fail(member)
        pool = usable(members, 0.5, clock.now)
        assert names(pool.ready) == "abcd"[at + 1 :]
        assert names(pool.last_resort) == ("a" if at == 2 else "")


@pytest.mark.parametrize(
    ("ratio", "last_resort"), [(0.0, "abcd"), (0.24, "abcd"), (0.5, "ab"), (0.99, "a"), (1.0, "a")]
)
def test_a_pool_of_failing_targets_is_never_empty(members, clock, ratio, last_resort):
    for at, member in enumerate(members):
        clock.now = 100.0 + at
        fail(member)
    pool = usable(members, ratio, clock.now)
    assert names(pool.ready) == ""
    assert names(pool.last_resort) == last_resort
    assert pool.recovers_at == members[0].breakers[0].retry_at
    assert pool.asked_at == members[0].breakers[0].last_resort_at


def test_a_lone_target_is_its_own_last_resort(members, clock):
    fail(members[0])
    pool = usable(members[:1], 1.0, clock.now)
    assert names(pool.last_resort) == "a"
    assert pool.asked_at == clock.now + LAST_RESORT_PAUSE_S < pool.recovers_at


def test_a_target_that_may_be_probed_is_ready(members, clock):
    fail(members[1])
    clock.now = members[1].breakers[0].retry_at
    assert names(usable(members, 0.5, clock.now).ready) == "abcd"
    members[1].breakers[0].enter()
    assert names(usable(members, 0.5, clock.now).ready) == "acd"


def test_what_is_barred_is_not_asked_even_as_the_last_resort(members, clock):
    for member in members:
        member.barred_until = clock.now + 5
    members[2].barred_until = clock.now + 2
    pool = usable(members, 0.5, clock.now)
    assert (names(pool.ready), names(pool.last_resort), pool.recovers_at) == ("", "", clock.now + 2)


def test_the_cap_is_of_what_may_be_asked_at_all(members, clock):
    for member in members[:3]:
        member.barred_until = clock.now + 500
    fail(members[3])
    pool = usable(members, 0.5, clock.now)
    assert names(pool.last_resort) == "d"
    assert pool.asked_at == clock.now + LAST_RESORT_PAUSE_S < pool.recovers_at


def test_what_is_barred_does_not_widen_the_cap(members, clock):
    members[0].barred_until = clock.now + 500
    for member in members[1:]:
        fail(member)
    assert names(usable(members, 0.5, clock.now).last_resort) == "bc"


def test_the_soonest_to_recover_is_the_first_last_resort(members, clock):
    for member in reversed(members):
        fail(member)
        clock.now += 1
    assert names(usable(members, 0.5, clock.now).last_resort) == "dc"


def test_what_an_operator_took_out_stays_out(members, clock):
    members[0].breakers[0].drain("maintenance")
    members[1].breakers[0].eject("bad answers")
    assert names(usable(members, 0.0, clock.now).ready) == "cd"
    pool = usable(members[:2], 0.0, clock.now)
    assert pool == ([], [], inf, inf)


def test_a_credentials_breaker_takes_out_all_that_use_it(clock):
    key = Breaker(BreakerSettings(), clock, lambda: 0.5)
    one, two, other = (
        Member(name, Breaker(BreakerSettings(), clock, lambda: 0.5), *more)
        for name, more in (("a", [key]), ("b", [key]), ("c", []))
    )
    for _ in range(5):
        key.fail(key.enter(), "upstream_error")
    pool = usable([one, two, other], 0.7, clock.now)
    assert names(pool.ready) == "c"
    assert names(pool.last_resort) == ""


def test_an_empty_pool_has_nobody(clock):
    pool = usable([], 0.5, clock.now)
    assert names(pool.ready) == names(pool.last_resort) == ""
