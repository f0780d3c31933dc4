"""A vendor's limits are kept by us."""

import pytest
from balanced import Clock

from dujiang.core.settings import Limits
from dujiang.resilience.vendor_limits import VendorLimits


def test_without_limits_there_is_always_room() -> None:
    clock = Clock()
    limits = VendorLimits(Limits(), 1, clock)
    limits.correct(limits.take(10**9), 0)
    assert limits.has_room(10**9)
    assert limits.room_at(10**9) == clock.now


def test_requests_of_a_minute_are_counted() -> None:
    clock = Clock(1000.5)
    limits = VendorLimits(Limits(rpm=2), 1, clock)
    limits.take(0)
    clock.now = 1030.0
    limits.take(0)
    assert not limits.has_room(0)
    assert limits.room_at(0) == 1061.0
    clock.now = 1060.9
    assert not limits.has_room(0)
    clock.now = 1061.0
    assert limits.has_room(0)


def test_tokens_of_a_minute_are_counted() -> None:
    clock = Clock()
    limits = VendorLimits(Limits(tpm=100), 1, clock)
    limits.take(60)
    clock.now += 10
    limits.take(30)
    assert limits.has_room(10)
    assert not limits.has_room(11)
    assert limits.room_at(11) == 1061.0
    assert limits.room_at(71) == 1071.0


def test_the_tighter_of_both_holds() -> None:
    clock = Clock()
    limits = VendorLimits(Limits(rpm=1, tpm=100), 1, clock)
    limits.take(10)
    assert not limits.has_room(10)
    both = VendorLimits(Limits(rpm=9, tpm=100), 1, clock)
    both.take(95)
    assert not both.has_room(10)


def test_a_call_of_more_than_the_limit_passes_alone() -> None:
    clock = Clock()
    limits = VendorLimits(Limits(tpm=100), 1, clock)
    assert limits.has_room(500)
    limits.take(500)
    assert not limits.has_room(1)
    assert limits.room_at(500) == 1061.0


def test_what_was_not_used_is_given_back() -> None:
    clock = Clock()
    limits = VendorLimits(Limits(tpm=100), 1, clock)
    taken = limits.take(90)
    clock.now += 20
    limits.correct(taken, 40)
    assert limits.has_room(60)
    assert not limits.has_room(61)


def test_what_was_used_beyond_counts_from_when_it_is_known() -> None:
    clock = Clock()
    limits = VendorLimits(Limits(tpm=100), 1, clock)
    taken = limits.take(20)
    clock.now += 50
    limits.correct(taken, 90)
    clock.now += 20
    assert not limits.has_room(31)
    assert limits.has_room(30)
    assert limits.room_at(31) == 1111.0


def test_a_late_correction_gives_nothing_twice() -> None:
    clock = Clock()
    limits = VendorLimits(Limits(tpm=100), 1, clock)
    taken = limits.take(90)
    clock.now += 70
    limits.take(100)
    limits.correct(taken, 0)
    assert not limits.has_room(1)


@pytest.mark.parametrize(("processes", "share"), [(1, 10), (3, 3), (4, 2), (11, 1)])
def test_processes_share_a_limit(processes: int, share: int) -> None:
    for declared in (Limits(rpm=10), Limits(tpm=10)):
        limits = VendorLimits(declared, processes, Clock())
        for _ in range(share):
            assert limits.has_room(1)
            limits.take(1)
        assert not limits.has_room(1)


def test_a_providers_limits_hold_for_all_its_targets() -> None:
    clock = Clock()
    provider = VendorLimits(Limits(rpm=2, tpm=100), 1, clock)
    first = VendorLimits(Limits(rpm=9), 1, clock, provider)
    second = VendorLimits(Limits(tpm=900), 1, clock, provider)
    taken = first.take(50)
    assert second.has_room(50)
    assert not second.has_room(51)
    first.correct(taken, 10)
    assert second.has_room(90)
    second.take(10)
    assert not first.has_room(0)
    assert first.room_at(0) == second.room_at(0) == 1061.0
