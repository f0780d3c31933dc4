"""What throttled us is left alone for as long as it said, within a bound."""

from math import inf, nan

import pytest

from dujiang.resilience.cooldown import DEFAULT_COOL_S, MAX_COOL_S, Cooldown


class Clock:
    now = 50.0

    def __call__(self) -> float:
        return self.now


def test_no_call_before_retry_after():
    clock = Clock()
    cooldown = Cooldown(clock)
    assert cooldown.allows()
    assert cooldown.cool(2.0)
    clock.now += 1.99
    assert not cooldown.allows()
    clock.now += 0.01
    assert cooldown.allows()


@pytest.mark.parametrize("said", [None, 0.0, -3.0, nan])
def test_what_does_not_say_how_long_is_left_alone_shortly(said):
    cooldown = Cooldown(Clock())
    assert cooldown.cool(said)
    assert cooldown.until == 50 + DEFAULT_COOL_S


@pytest.mark.parametrize("said", [MAX_COOL_S + 0.1, 1e30, inf])
def test_what_says_too_long_is_to_be_parked(said):
    cooldown = Cooldown(Clock())
    assert not cooldown.cool(said)
    assert cooldown.allows()


def test_a_timer_is_never_shortened_but_by_an_operator():
    cooldown = Cooldown(Clock())
    cooldown.cool(MAX_COOL_S)
    cooldown.cool(1.0)
    cooldown.cool(None)
    cooldown.adopt(51.0)
    assert cooldown.until == 50 + MAX_COOL_S
    cooldown.restore()
    assert cooldown.allows()


def test_what_another_process_was_told_is_adopted_within_the_bound():
    cooldown = Cooldown(Clock())
    cooldown.adopt(60.0)
    assert cooldown.until == 60
    cooldown.adopt(inf)
    assert cooldown.until == 50 + MAX_COOL_S
