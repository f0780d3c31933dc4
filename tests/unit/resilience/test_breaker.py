"""A breaker's states, one after the other, in simulated time."""

from math import inf, nan

import pytest

from dujiang.resilience.breaker import LAST_RESORT_PAUSE_S, MAX_AGE_S, PROBE_LEASE_S, Breaker
from dujiang.resilience.settings import BreakerSettings

SETTINGS = BreakerSettings(window=20, min_calls=5, failure_ratio=0.5, open_s=10, max_open_s=60, probes=1)


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def changes():
    return []


@pytest.fixture
def breaker(clock, changes):
    return Breaker(SETTINGS, clock, lambda: 0.5, lambda state, reason: changes.append((state, reason)))


def fail(breaker, times=1):
    for _ in range(times):
        breaker.fail(breaker.enter(), "upstream_timeout")


def succeed(breaker, times=1, is_slow=False):
    for _ in range(times):
        breaker.succeed(breaker.enter(), is_slow)


def probe(breaker, clock):
    clock.now = max(clock.now, breaker.retry_at)
    return breaker.enter()


def test_it_opens_at_the_ratio_of_enough_calls(breaker, clock, changes):
    fail(breaker, 4)
    assert breaker.state == "closed"
    fail(breaker)
    assert (breaker.state, breaker.reason, breaker.since) == ("open", "upstream_timeout", clock.now)
    assert changes == [("open", "upstream_timeout")]
    assert breaker.enter() is None
    assert not breaker.allows()
    assert breaker.retry_at == clock.now + 10


def test_it_stays_closed_below_the_ratio(breaker):
    for _ in range(50):
        succeed(breaker, 11)
        fail(breaker, 9)
    assert breaker.state == "closed"


def test_only_the_last_outcomes_count(breaker):
    succeed(breaker, 1000)
    fail(breaker, 9)
    assert breaker.state == "closed"
    fail(breaker)
    assert breaker.state == "open"


def test_old_outcomes_do_not_count(breaker, clock):
    fail(breaker, 4)
    clock.now += MAX_AGE_S + 1
    fail(breaker, 4)
    assert breaker.state == "closed"
    fail(breaker)
    assert breaker.state == "open"


def test_five_first_token_timeouts_in_a_row_are_found_out(breaker, clock):
    for _ in range(5):
        clock.now += 30
        fail(breaker)
    assert breaker.state == "open"


def test_slow_calls_open_it_at_a_higher_ratio(breaker):
    succeed(breaker, 4)
    succeed(breaker, 15, is_slow=True)
    assert breaker.state == "closed"
    succeed(breaker, is_slow=True)
    assert (breaker.state, breaker.reason) == ("open", "slow")


def test_cancelled_calls_are_no_outcomes(breaker):
    fail(breaker, 4)
    for _ in range(100):
        breaker.cancel(breaker.enter())
    assert breaker.state == "closed"
    fail(breaker)
    assert breaker.state == "open"


def test_a_good_probe_closes_it(breaker, clock, changes):
    fail(breaker, 5)
    ticket = probe(breaker, clock)
    assert breaker.state == "half_open"
    assert breaker.enter() is None
    breaker.succeed(ticket)
    assert (breaker.state, breaker.reason) == ("closed", None)
    assert [state for state, _ in changes] == ["open", "half_open", "closed"]
    fail(breaker, 4)
    assert breaker.state == "closed"  # it begins anew


def test_a_slow_probe_is_not_good(breaker, clock):
    fail(breaker, 5)
    breaker.succeed(probe(breaker, clock), is_slow=True)
    assert (breaker.state, breaker.reason) == ("open", "slow")


def test_each_reopening_takes_twice_as_long_up_to_the_bound(breaker, clock):
    fail(breaker, 5)
    durations = [breaker.retry_at - clock.now]
    for _ in range(5):
        breaker.fail(probe(breaker, clock), "upstream_error")
        durations.append(breaker.retry_at - clock.now)
    assert durations == pytest.approx([10, 20, 40, 60 / 1.15, 60 / 1.15, 60 / 1.15])


@pytest.mark.parametrize(("draw", "first_s", "longest_s"), [(0.0, 8.5, 60 / 1.15 * 0.85), (1 - 2**-53, 11.5, 60)])
def test_open_times_are_jittered_and_bounded(clock, draw, first_s, longest_s):
    breaker = Breaker(SETTINGS, clock, lambda: draw)
    fail(breaker, 5)
    assert breaker.retry_at - clock.now == pytest.approx(first_s)
    for _ in range(9):
        breaker.fail(probe(breaker, clock), "upstream_error")
    assert breaker.retry_at - clock.now == pytest.approx(longest_s)
    assert breaker.retry_at <= clock.now + 60


def test_a_short_recovery_does_not_reset_the_open_time(breaker, clock):
    fail(breaker, 5)
    breaker.succeed(probe(breaker, clock))
    clock.now += 19
    fail(breaker, 5)
    assert breaker.retry_at - clock.now == pytest.approx(20)


def test_a_sustained_one_does(breaker, clock):
    fail(breaker, 5)
    breaker.succeed(probe(breaker, clock))
    clock.now += 20
    fail(breaker, 5)
    assert breaker.retry_at - clock.now == pytest.approx(10)


def test_as_many_probes_as_configured_and_a_cancelled_one_makes_room(clock):
    breaker = Breaker(BreakerSettings(probes=3), clock, lambda: 0.5)
    fail(breaker, 5)
    first = probe(breaker, clock)
    others = [breaker.enter(), breaker.enter()]
    assert None not in others
    assert breaker.enter() is None
    breaker.cancel(first)
    breaker.cancel(first)
    assert breaker.enter() is not None
    assert breaker.enter() is None


def test_a_lost_probe_is_given_up_after_its_lease(breaker, clock):
    fail(breaker, 5)
    lost = probe(breaker, clock)
    clock.now += PROBE_LEASE_S - 1
    assert breaker.enter() is None
    clock.now += 1
    found = breaker.enter()
    assert found is not None
    breaker.fail(lost, "upstream_error")
    assert breaker.state == "half_open"
    breaker.succeed(found)
    assert breaker.state == "closed"


def test_outcomes_of_another_time_are_ignored(breaker, clock):
    old = breaker.enter()
    fail(breaker, 5)
    breaker.succeed(old)
    assert breaker.state == "open"
    failed = probe(breaker, clock)
    breaker.succeed(old)
    assert breaker.state == "half_open"
    breaker.fail(failed, "upstream_error")
    until = breaker.retry_at
    breaker.succeed(failed)
    breaker.fail(failed, "upstream_error")
    assert (breaker.state, breaker.retry_at) == ("open", until)
    good = probe(breaker, clock)
    breaker.succeed(good)
    for _ in range(9):
        breaker.fail(old, "upstream_error")
        breaker.fail(good, "upstream_error")
    assert breaker.state == "closed"


def test_a_stream_that_opened_and_broke_counts_twice(breaker):
    for _ in range(4):
        ticket = breaker.enter()
        breaker.succeed(ticket)
        breaker.fail(ticket, "upstream_stream_broken")
    assert breaker.state == "open"


@pytest.mark.parametrize("word", ["drain", "eject"])
def test_an_operators_word_holds_until_restored(breaker, clock, word):
    going_on = breaker.enter()
    getattr(breaker, word)("maintenance")
    assert breaker.state == word + "ed"
    assert breaker.reason == "maintenance"
    breaker.succeed(going_on)
    clock.now += 1e6
    assert breaker.enter() is None
    assert breaker.enter(is_last_resort=True) is None
    assert breaker.retry_at == breaker.last_resort_at == inf
    breaker.adopt("open", clock.now + 5, "upstream_error")
    assert breaker.state == word + "ed"
    breaker.restore()
    assert breaker.state == "closed"
    assert breaker.enter() is not None


def test_restoring_forgets_how_long_it_was_open(breaker, clock):
    fail(breaker, 5)
    breaker.fail(probe(breaker, clock), "upstream_error")
    breaker.restore()
    fail(breaker, 5)
    assert breaker.retry_at - clock.now == pytest.approx(10)


def test_what_is_no_moment_is_not_adopted(breaker):
    breaker.adopt("open", nan, "upstream_error")
    assert breaker.allows()


def test_what_another_process_found_is_adopted_and_never_shortens(breaker, clock, changes):
    breaker.adopt("open", clock.now + 7, "upstream_error")
    assert (breaker.state, breaker.retry_at, breaker.reason) == ("open", clock.now + 7, "upstream_error")
    breaker.adopt("open", clock.now + 3, "upstream_error")
    assert breaker.retry_at == clock.now + 7
    breaker.adopt("open", clock.now + 1e9, "upstream_error")
    assert breaker.retry_at == clock.now + SETTINGS.max_open_s
    breaker.adopt("drained", inf, "maintenance")
    assert (breaker.state, breaker.retry_at) == ("drained", inf)
    clock.now += 1
    breaker.adopt("drained", inf, "told again")
    assert (breaker.since, breaker.reason) == (clock.now - 1, "maintenance")
    assert changes == []


def test_what_another_process_found_does_not_put_off_a_last_resort_that_is_open_already(breaker, clock):
    fail(breaker, 5)
    clock.now += LAST_RESORT_PAUSE_S
    breaker.adopt("open", clock.now + 30, "upstream_error")
    assert breaker.enter(is_last_resort=True) is not None


def test_openings_are_counted_by_who_saw_them(breaker, clock):
    breaker.adopt("open", clock.now + 5, "upstream_timeout")
    assert breaker.opened == 0
    breaker.fail(probe(breaker, clock), "upstream_error")
    assert breaker.opened == 1
    clock.now += LAST_RESORT_PAUSE_S
    breaker.fail(breaker.enter(is_last_resort=True), "upstream_error")
    assert breaker.opened == 1
    breaker.restore()
    fail(breaker, 5)
    assert breaker.opened == 2


def test_what_another_process_found_in_the_past_is_ignored(breaker, clock):
    breaker.adopt("open", clock.now, "upstream_error")
    assert breaker.state == "closed"


def test_a_last_resort_is_probed_alone_and_not_hammered(breaker, clock):
    fail(breaker, 5)
    until = breaker.retry_at
    assert breaker.enter(is_last_resort=True) is None
    for _ in range(3):
        clock.now += LAST_RESORT_PAUSE_S
        ticket = breaker.enter(is_last_resort=True)
        assert ticket is not None
        assert breaker.enter(is_last_resort=True) is None
        assert breaker.enter() is None
        breaker.fail(ticket, "upstream_error")
        assert (breaker.state, breaker.retry_at) == ("open", until)
        assert breaker.enter(is_last_resort=True) is None
    clock.now += LAST_RESORT_PAUSE_S
    breaker.succeed(breaker.enter(is_last_resort=True))
    assert breaker.state == "closed"


def test_a_last_resorts_cancelled_probe_makes_room_for_its_like_alone(breaker, clock):
    fail(breaker, 5)
    clock.now += LAST_RESORT_PAUSE_S
    breaker.cancel(breaker.enter(is_last_resort=True))
    assert breaker.enter() is None
    assert breaker.enter(is_last_resort=True) is not None


def test_other_settings_hold_from_the_next_outcome_on(breaker, clock):
    succeed(breaker, 20)
    breaker.apply(BreakerSettings(window=4, min_calls=2, failure_ratio=0.5, open_s=30, max_open_s=60))
    fail(breaker)
    assert breaker.state == "closed"
    fail(breaker)
    assert breaker.state == "open"
    assert breaker.retry_at - clock.now == pytest.approx(30)
