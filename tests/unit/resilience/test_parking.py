"""What is refused for good is left alone until its secret changes, an operator says so, or a look finds it well."""

import pytest

from dujiang.resilience.parking import MAX_RECHECK_S, RECHECK_S, Parking


class Clock:
    now = 50.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def changes():
    return []


@pytest.fixture
def parking(clock, changes):
    return Parking(clock, lambda: 0.5, "v1", changes.append)


def park(parking):
    parking.park(parking.enter(), "upstream_bad_credential")


def test_one_refusal_parks(parking, clock, changes):
    park(parking)
    assert parking.reason == "upstream_bad_credential"
    assert parking.enter() is None
    assert not parking.allows()
    assert parking.recheck_at == clock.now + RECHECK_S
    assert changes == ["upstream_bad_credential"]


def test_one_call_looks_again_and_the_next_after_twice_the_time(parking, clock, changes):
    park(parking)
    waits = []
    for _ in range(6):
        clock.now = parking.recheck_at
        assert parking.allows()
        entered = parking.enter()
        assert parking.enter() is None
        parking.park(entered, "upstream_bad_credential")
        waits.append(parking.recheck_at - clock.now)
    assert waits == pytest.approx([600, 1200, 2400, *[MAX_RECHECK_S / 1.15] * 3])
    assert len(changes) == 1


def test_a_look_that_never_reports_holds_nothing(parking, clock):
    park(parking)
    clock.now = parking.recheck_at
    parking.enter()
    clock.now = parking.recheck_at
    assert parking.enter() is not None


def test_a_look_that_is_answered_restores(parking, clock, changes):
    park(parking)
    clock.now = parking.recheck_at
    parking.succeed(parking.enter())
    assert parking.reason is None
    assert parking.enter() is not None
    assert changes == ["upstream_bad_credential", None]
    park(parking)
    assert parking.recheck_at - clock.now == pytest.approx(RECHECK_S)


def test_an_answer_to_an_earlier_call_does_not_excuse(parking, clock):
    earlier = parking.enter()
    park(parking)
    parking.succeed(earlier)
    assert parking.reason is not None
    clock.now = parking.recheck_at
    parking.enter()
    parking.succeed(earlier)
    assert parking.reason is not None


def test_refusals_of_calls_that_were_under_way_change_nothing(parking, clock):
    earlier = [parking.enter() for _ in range(9)]
    for entered in earlier:
        parking.park(entered, "upstream_bad_credential")
    assert parking.recheck_at == clock.now + RECHECK_S


def test_another_secret_restores_and_a_refusal_of_the_old_one_does_not_park_it(parking):
    earlier = parking.enter()
    park(parking)
    parking.renew("v1")
    assert parking.reason is not None
    parking.renew("v2")
    assert parking.reason is None
    parking.park(earlier, "upstream_bad_credential")
    assert parking.reason is None


def test_a_look_under_way_does_not_undo_an_operators_word(parking, clock):
    park(parking)
    clock.now = parking.recheck_at
    looking = parking.enter()
    parking.restore()
    parking.park(looking, "upstream_bad_credential")
    assert parking.allows()


def test_an_operator_restores(parking):
    park(parking)
    parking.restore()
    assert parking.allows()


def test_an_answer_that_says_when_puts_the_look_off_within_an_hour(parking, clock):
    parking.park(parking.enter(), "upstream_out_of_quota", 900.0)
    assert parking.recheck_at == clock.now + 900
    parking.restore()
    parking.park(parking.enter(), "upstream_out_of_quota", float("inf"))
    assert parking.recheck_at == clock.now + MAX_RECHECK_S
    parking.restore()
    parking.park(parking.enter(), "upstream_out_of_quota", 1.0)
    assert parking.recheck_at == clock.now + RECHECK_S


def test_what_another_process_was_refused_is_adopted_once(parking, clock, changes):
    earlier = parking.enter()
    parking.adopt("upstream_bad_credential")
    until = parking.recheck_at
    clock.now += 10
    parking.adopt("upstream_bad_credential")
    parking.succeed(earlier)
    assert (parking.reason, parking.recheck_at) == ("upstream_bad_credential", until)
    assert changes == []
