"""Access tokens: good until they expire or a behaviour ends them, and then never again."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dujiang.emulator.behaviour import BadBehaviour, Behaviour, TokenEnd, parse
from dujiang.emulator.ernie.v1 import Tokens
from dujiang.emulator.ernie.v1 import tokens as tokens_module


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_token_expires_at_its_second():
    clock = Clock()
    tokens = Tokens(clock)
    token = tokens.issue("ak", 5)
    clock.now += 4.9
    assert tokens.spend(token, None) == "valid"
    clock.now += 0.1
    assert tokens.spend(token, None) == tokens.state(token) == "expired"
    assert token.calls == 1


def test_a_token_that_lasts_no_time_is_never_good():
    tokens = Tokens()
    assert tokens.state(tokens.issue("ak", 0)) == "expired"


@pytest.mark.parametrize("state", ["invalid", "expired"])
def test_a_token_ends_after_its_calls_and_stays_ended(state):
    tokens = Tokens()
    token, other = tokens.issue("ak", 60), tokens.issue("ak", 60)
    end = TokenEnd(state, 3)
    assert [tokens.spend(token, end) for _ in range(5)] == ["valid"] * 3 + [state] * 2
    assert tokens.spend(token, None) == state
    assert tokens.spend(other, end) == "valid"


def test_calls_before_the_behaviour_count():
    tokens = Tokens()
    token = tokens.issue("ak", 60)
    for _ in range(4):
        tokens.spend(token, None)
    assert tokens.spend(token, TokenEnd("invalid", 5)) == "valid"
    assert tokens.spend(token, TokenEnd("invalid", 5)) == "invalid"


def test_an_end_is_not_changed_by_time():
    clock = Clock()
    tokens = Tokens(clock)
    token = tokens.issue("ak", 5)
    tokens.spend(token, TokenEnd("invalid", 0))
    clock.now += 60
    assert tokens.state(token) == "invalid"


def test_tokens_are_found_by_their_text_and_the_oldest_are_forgotten():
    tokens = Tokens()
    issued = [tokens.issue(f"ak-{index % 3}", 60) for index in range(tokens_module._MOST + 5)]
    assert len({token.text for token in issued}) == len(issued)
    assert [tokens.find(token.text) for token in issued[:5]] == [None] * 5
    assert tokens.find(issued[5].text) is issued[5]
    assert tokens.find(issued[-1].text) is issued[-1]
    assert tokens.find("24.unknown") is None


@given(st.lists(st.one_of(st.none(), st.integers(0, 4)), max_size=12))
def test_once_ended_always_ended(ends):
    tokens = Tokens()
    token = tokens.issue("ak", 60)
    states = [tokens.spend(token, None if calls is None else TokenEnd("invalid", calls)) for calls in ends]
    good = states.count("valid")
    assert states == ["valid"] * good + ["invalid"] * (len(states) - good)
    assert token.calls == good


def test_terms():
    assert parse("token_expires_in=2", frozenset()) == Behaviour(token_expires_in_s=2)
    assert parse("token_invalid_after=0", frozenset()) == Behaviour(token_end=TokenEnd("invalid", 0))
    assert parse("token_expired_after_7", frozenset()) == Behaviour(token_end=TokenEnd("expired", 7))
    for text in ("token_invalid_after=1;token_expired_after=1", "token_expires_in=-1", "token_invalid_after"):
        with pytest.raises(BadBehaviour):
            parse(text, frozenset())
