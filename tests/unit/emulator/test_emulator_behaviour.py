"""The script of the emulator: what is read, what is refused, and that nothing else happens."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dujiang.emulator.behaviour import (
    FAULTS,
    TERMS,
    WORDS,
    BadBehaviour,
    Behaviour,
    Condition,
    Fault,
    forms,
    parse,
    parse_model_name,
)
from dujiang.emulator.faults import FAULTS as BUILT_FAULTS

ERRORS = frozenset({"server_error", "429"})


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("ok", Behaviour()),
        ("status=500;latency=100", Behaviour(status=500, latency_ms=100)),
        (" status = 503 ; retry_after = 2 ", Behaviour(status=503, retry_after="2")),
        ("retry_after=Wed, 21 Oct 2026 07:28:00 GMT", Behaviour(retry_after="Wed, 21 Oct 2026 07:28:00 GMT")),
        ("error=429;retry_after_ms=1e400", Behaviour(error="429", retry_after_ms="1e400")),
        ("cut_after=0", Behaviour(fault=Fault("cut_after", 0))),
        ("flaky=0.3;seed=7;hang", Behaviour(condition=Condition("flaky", 0.3), seed=7, fault=Fault("hang"))),
        ("tokens=120/48;served=gpt-4-0613", Behaviour(tokens=(120, 48), served="gpt-4-0613")),
        ("ok_tools;ok_crlf;usage_missing", Behaviour(answer="tools", has_crlf=True, usage="missing")),
        ("error_in_stream;error=server_error", Behaviour(fault=Fault("error_in_stream"), error="server_error")),
        ("status_503", Behaviour(status=503)),
        ("flaky_0.25", Behaviour(condition=Condition("flaky", 0.25))),
        ("cut_after_3_chunks", Behaviour(fault=Fault("cut_after", 3))),
        ("slow_first_token_500", Behaviour(ttft_ms=500)),
        ("conc_4", Behaviour(condition=Condition("concurrency", 4))),
        ("hang_forever", Behaviour(fault=Fault("hang"))),
    ],
)
def test_reads(text, expected):
    assert parse(text, ERRORS) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "ok;",
        "nonsense",
        "hang=1",
        "latency",
        "latency=",
        "latency=-1",
        "latency=1_000",
        "latency=１２",
        "latency=99999999",
        "status=200.5",
        "status=302",
        "status=600",
        "flaky=1.1",
        "flaky=nan",
        "tokens=5",
        "tokens=5/-1",
        "error=nonsense",
        "retry_after=\x00",
        "retry_after=1\r\nX-Evil: 1",
        "status=500;status=501",
        "hang;garbage",
        "hang;status=500",
        "ok_tools;ok_reasoning",
        "flaky=0.5;fail_first=1",
        "x" * 1001,
    ],
)
def test_refuses(text):
    with pytest.raises(BadBehaviour):
        parse(text, ERRORS)
    assert parse_model_name(text, ERRORS) is None


def test_refusal_lists_what_is_known():
    with pytest.raises(BadBehaviour, match=r"latency=MS.*cut_mid_utf8"):
        parse("nonsense", ERRORS)
    with pytest.raises(BadBehaviour, match="server_error"):
        parse("error=nonsense", ERRORS)


@pytest.mark.parametrize("model", ["gpt-4-0613", "gpt-4o-mini", "o1", "lab-7b-chat", "ERNIE-4.0-8K", "deepseek-v4-pro"])
def test_ordinary_models_are_no_behaviour(model):
    assert parse_model_name(model, ERRORS) is None


def test_every_fault_that_parses_is_built():
    assert {*FAULTS, "cut_after"} == set(BUILT_FAULTS)


def test_names_do_not_collide():
    names = ["ok", *TERMS, *WORDS, *FAULTS]
    assert len(names) == len(set(names)) == len(forms())


_values = st.one_of(st.integers(0, 600).map(str), st.sampled_from(["0.5", "3/4", "server_error"]), st.text(max_size=8))
_terms = st.one_of(
    st.sampled_from([*WORDS, *FAULTS, "ok"]),
    st.builds("{}={}".format, st.sampled_from(list(TERMS)), _values),
    st.text(max_size=12),
)


@given(st.lists(_terms, max_size=5).map(";".join))
def test_any_text_is_read_or_refused(text):
    try:
        behaviour = parse(text, ERRORS)
    except BadBehaviour as problem:
        assert str(problem).endswith(".")
    else:
        assert behaviour.passing().has_failure is False
        assert hash(behaviour) == hash(parse(text, ERRORS))


@given(st.permutations(["latency=5", "status=500", "ok_crlf", "fail_first=2", "retry_after=1"]))
def test_order_of_terms_means_nothing(terms):
    assert parse(";".join(terms), ERRORS) == parse(";".join(sorted(terms)), ERRORS)
