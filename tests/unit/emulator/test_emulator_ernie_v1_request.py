"""What V1 takes and what it refuses, by code: ranges, contents, lengths, and the order of roles."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dujiang.emulator.ernie.v1.request import MOST_CHARACTERS, InvalidChat, read_chat

PATH = "completions_pro"
ASK = {"role": "user", "content": "你好"}
SAY = {"role": "assistant", "content": "好"}
CALL = {"role": "assistant", "content": "", "function_call": {"name": "f", "arguments": "{}"}}
RESULT = {"role": "function", "name": "f", "content": "{}"}
FUNCTION = {"name": "f", "description": "d", "parameters": {"type": "object", "properties": {}}}


def read(path: str = PATH, **fields: object):
    return read_chat(json.dumps({"messages": [ASK], **fields}).encode(), path)


def code(path: str = PATH, **fields: object) -> str | None:
    try:
        read(path, **fields)
    except InvalidChat as problem:
        assert problem.message
        return problem.code
    return None


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"stream": True, "temperature": 0.01, "top_p": 0, "penalty_score": 1},
        {"temperature": 1, "top_p": 1.0, "penalty_score": 2.0, "max_output_tokens": 2},
        {"system": "你是助手", "stop": ["。" * 20] * 4, "user_id": "u", "response_format": "json_object"},
        {"disable_search": False, "enable_citation": True},
        {"functions": [FUNCTION], "tool_choice": {"type": "function", "function": {"name": "f"}}},
        {"messages": [ASK, SAY, ASK]},
        {"messages": [ASK, CALL, RESULT]},
        {"messages": [ASK, {"role": "assistant", "function_call": CALL["function_call"]}, RESULT, SAY, ASK]},
        {"messages": [ASK, CALL, ASK]},
        {"messages": [{"role": "user", "content": " "}, SAY, ASK]},
    ],
)
def test_taken(fields):
    assert code(**fields) is None


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"temperature": 0}, "336001"),
        ({"temperature": 1.01}, "336001"),
        ({"temperature": None}, "336001"),
        ({"temperature": "0.5"}, "336001"),
        ({"top_p": -0.1}, "336001"),
        ({"top_p": 1.1}, "336001"),
        ({"penalty_score": 0.9}, "336001"),
        ({"penalty_score": 2.1}, "336001"),
        ({"max_output_tokens": 1}, "336001"),
        ({"stop": "。"}, "336001"),
        ({"stop": ["。"] * 5}, "336001"),
        ({"stop": ["。" * 21]}, "336001"),
        ({"response_format": {"type": "json_object"}}, "336001"),
        ({"response_format": "json_schema"}, "336001"),
        ({"stream": "yes"}, "336001"),
        ({"user_id": 5}, "336001"),
        ({"frequency_penalty": 0.5}, "336001"),
        ({"presence_penalty": 0.5}, "336001"),
        ({"max_tokens": 5}, "336001"),
        ({"model": "ERNIE-4.0-8K"}, "336001"),
        ({"tools": []}, "336001"),
        ({"functions": [{"name": "f"}]}, "336001"),
        ({"functions": [{**FUNCTION, "name": ""}]}, "336001"),
        ({"functions": [{**FUNCTION, "parameters": {"enum": 5}}]}, "336001"),
        ({"tool_choice": {"type": "function", "function": {"name": "f"}}}, "336001"),
        ({"functions": [FUNCTION], "tool_choice": {"type": "function", "function": {"name": "g"}}}, "336001"),
        ({"functions": [FUNCTION], "tool_choice": "auto"}, "336001"),
        ({"system": ""}, "336104"),
        ({"system": " \n"}, "336104"),
        ({"system": None}, "336104"),
        ({"system": "长" * 20_001}, "336104"),
        ({"messages": []}, "336003"),
        ({"messages": "你好"}, "336003"),
        ({"messages": None}, "336003"),
        ({"messages": [ASK, SAY]}, "336003"),
        ({"messages": [ASK, ASK, ASK]}, "336003"),
        ({"messages": [SAY]}, "336003"),
        ({"messages": [{"role": "system", "content": "x"}, ASK, SAY]}, "336003"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "336003"),
        ({"messages": [{"role": "user"}]}, "336003"),
        ({"messages": [{"role": "user", "content": None}]}, "336003"),
        ({"messages": [{"role": "user", "content": [{"type": "text", "text": "x"}]}]}, "336003"),
        ({"messages": [{"role": "user", "content": ""}]}, "336003"),
        ({"messages": [{"role": "user", "content": " \n\r\f"}]}, "336003"),
        ({"messages": [{**ASK, "tool_calls": []}]}, "336003"),
        ({"messages": [{**ASK, "function_call": CALL["function_call"]}]}, "336003"),
        ({"messages": [ASK, {"role": "assistant", "content": ""}, ASK]}, "336003"),
        ({"messages": [RESULT]}, "336003"),
        ({"messages": [ASK, SAY, RESULT]}, "336003"),
        ({"messages": [ASK, CALL, {"role": "function", "content": "{}"}]}, "336003"),
        ({"messages": [ASK, CALL, {**RESULT, "name": "g"}]}, "336003"),
    ],
)
def test_refused(fields, expected):
    assert code(**fields) == expected


@pytest.mark.parametrize("body", [b"", b"{", b"\xff", b'{"messages": NaN}'])
def test_what_is_no_json(body):
    with pytest.raises(InvalidChat) as caught:
        read_chat(body, PATH)
    assert caught.value.code == "336002"


@pytest.mark.parametrize(("body", "code"), [(b"{}", "336003"), (b"[]", "336001"), (b"[" * 100_000, "336001")])
def test_what_is_no_chat(body, code):
    with pytest.raises(InvalidChat) as caught:
        read_chat(body, PATH)
    assert caught.value.code == code


@pytest.mark.parametrize(("path", "most"), [*MOST_CHARACTERS.items()])
def test_characters_count_together_with_the_system(path, most):
    turns = [{"role": "user", "content": "字" * (most - 20)}, {"role": "assistant", "content": "字" * 9}, ASK]
    assert code(path, messages=turns, system="字" * 9) is None
    assert code(path, messages=turns, system="字" * 10) == "336007"


def test_a_path_of_ones_own_has_no_limit():
    assert code("my_service", messages=[{"role": "user", "content": "字" * 600_000}]) is None


TURNS = {"user": ASK, "assistant": SAY, "call": CALL, "function": RESULT}


@given(st.lists(st.sampled_from([*TURNS]), max_size=9))
def test_the_order_of_roles(kinds):
    is_good = len(kinds) % 2 == 1 and all(
        kind in ("assistant", "call")
        if index % 2
        else kind == "user" or (kind == "function" and index > 0 and kinds[index - 1] == "call")
        for index, kind in enumerate(kinds)
    )
    assert (code(messages=[TURNS[kind] for kind in kinds]) is None) == is_good


_texts = st.text(max_size=6)
_message = st.dictionaries(
    st.sampled_from(["role", "content", "name", "function_call", "x"]),
    st.one_of(_texts, st.sampled_from(["user", "assistant", "function", "system"]), st.none(), st.just({"name": "f"})),
    max_size=4,
)


@given(st.lists(_message, max_size=3), st.dictionaries(_texts, st.one_of(_texts, st.integers(), st.none()), max_size=2))
def test_any_body_is_read_or_refused_by_a_code(messages, more):
    found = code(**{**more, "messages": messages})
    assert found is None or found.startswith("336")
