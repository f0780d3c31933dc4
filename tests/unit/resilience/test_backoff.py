"""Waits before retries: full jitter, and Retry-After obeyed."""

from math import inf, nan
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dujiang.resilience.backoff import delay_s, jittered_s, retry_after_delay_s


@pytest.mark.parametrize(("attempt", "most_s"), [(0, 0.25), (1, 0.5), (2, 1.0), (5, 5.0), (10**9, 5.0)])
def test_the_bound_doubles_up_to_the_longest(attempt, most_s):
    assert delay_s(attempt, 0.25, 5.0, lambda: 1.0) == most_s
    assert delay_s(attempt, 0.25, 5.0, lambda: 0.0) == 0.0


def test_delays_are_spread_over_all_of_it():
    draw = Random(7).random
    delays = [delay_s(2, 0.25, 5.0, draw) for _ in range(4000)]
    assert sum(delay < 0.25 for delay in delays) == pytest.approx(1000, rel=0.1)
    assert sum(delay > 0.75 for delay in delays) == pytest.approx(1000, rel=0.1)


@given(st.floats(0, 60), st.floats(0, 0.999))
def test_retry_after_is_never_undercut(said_s, drawn):
    delay = retry_after_delay_s(said_s, 0.25, 60.0, lambda: drawn)
    assert said_s <= delay <= said_s + 0.25


@pytest.mark.parametrize("said_s", [60.1, inf, nan, -1.0])
def test_retry_after_beyond_the_bound_means_not_there(said_s):
    assert retry_after_delay_s(said_s, 0.25, 60.0, lambda: 0.0) is None


@given(st.floats(0.001, 1e6), st.floats(0.001, 1e6), st.floats(0, 0.9999))
def test_jitter_keeps_to_its_share_and_to_the_bound(duration_s, max_s, drawn):
    waits_s = jittered_s(duration_s, max_s, lambda: drawn)
    assert 0.85 * min(duration_s, max_s / 1.15) <= waits_s * 1.000001
    assert waits_s <= min(1.15 * duration_s * 1.000001, max_s)
