"""When the tokens of a stream fall behind their pace."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dujiang.providers.paced import WINDOW_S, Pace


def test_the_first_window_begins_with_the_first_token():
    pace = Pace(2)
    assert pace.take(100, 1) == WINDOW_S
    assert pace.take(4, 1) == WINDOW_S - 4


def test_enough_tokens_do_until_the_oldest_of_them_is_too_old():
    pace = Pace(0.5)
    pace.take(0, 3)
    assert pace.take(1, 1) == WINDOW_S - 1
    assert pace.take(1, 1) == WINDOW_S - 2
    assert pace.take(1, 3) == WINDOW_S - 2  # of those that came after 1 s there are five
    assert pace.take(1, 5) == WINDOW_S


def test_tokens_that_came_together_are_no_credit_for_later():
    pace = Pace(1)
    assert pace.take(0, 1000) == WINDOW_S
    assert pace.take(9, 1) == 1


@pytest.mark.parametrize("min_tokens_per_s", [0.01, 0.1])
def test_one_token_in_a_window_may_be_enough(min_tokens_per_s):
    pace = Pace(min_tokens_per_s)
    assert {pace.take(9, 1) for _ in range(100)} == {WINDOW_S}


def due_s(arrivals: list[tuple[int, int]], needed: float) -> float:
    """The first moment from which the tokens of a window before it are too few, if no others come."""
    for came_at, _ in arrivals:
        if sum(tokens for at, tokens in arrivals if at > came_at) < needed:
            return came_at + WINDOW_S
    raise AssertionError("after the last token there are none")


@given(
    st.sampled_from([0.1, 0.5, 1, 3.3, 20]),
    st.lists(st.tuples(st.integers(0, 12), st.integers(1, 60)), min_size=1, max_size=60),
)
def test_what_is_left_is_what_every_window_says(min_tokens_per_s: float, steps: list[tuple[int, int]]):
    pace = Pace(min_tokens_per_s)
    arrivals: list[tuple[int, int]] = []
    for waited_s, tokens in steps:
        now = arrivals[-1][0] + waited_s if arrivals else 0
        arrivals.append((now, tokens))
        left_s = pace.take(waited_s, tokens)
        assert left_s == due_s(arrivals, min_tokens_per_s * WINDOW_S) - now
        if left_s <= 0:
            break
