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


def pause_s(cooldown: Cooldown, clock: Clock) -> float:
    """How long it is left alone for a refusal without a word."""
    clock.now = max(clock.now, cooldown.until)
    cooldown.cool(None)
    return cooldown.until - clock.now


def test_answers_shorten_the_pause_and_refusals_lengthen_it():
    clock = Clock()
    cooldown = Cooldown(clock)
    assert pause_s(cooldown, clock) == pause_s(cooldown, clock) == DEFAULT_COOL_S
    for _ in range(1000):
        cooldown.succeed()
    short = pause_s(cooldown, clock)
    assert 0 < short < 0.05
    assert pause_s(cooldown, clock) == pytest.approx(2 * short)
    assert max(pause_s(cooldown, clock) for _ in range(20)) == pytest.approx(DEFAULT_COOL_S)


def test_refusals_of_one_moment_are_one():
    clock = Clock()
    cooldown = Cooldown(clock)
    for _ in range(1000):
        cooldown.succeed()
    cooldown.cool(None)
    until = cooldown.until
    for _ in range(30):
        cooldown.cool(None)
    assert cooldown.until == until


@pytest.mark.parametrize("allowed_per_s", [2, 20, 200])
def test_most_calls_pass_where_so_many_pass_in_a_second(allowed_per_s):
    """One call after another, against a bucket of tokens that does not say when it has one again."""
    clock = Clock()
    cooldown = Cooldown(clock)
    tokens, good, calls = 1.0, 0, 0
    while clock.now < 150:
        before = clock.now
        clock.now = max(clock.now + 0.001, cooldown.until)
        tokens = min(float(allowed_per_s), tokens + (clock.now - before) * allowed_per_s)
        calls += 1
        if tokens >= 1:
            tokens -= 1
            good += 1
            cooldown.succeed()
        else:
            cooldown.cool(None)
    assert good > 0.9 * 100 * allowed_per_s
    assert good > 0.6 * calls
