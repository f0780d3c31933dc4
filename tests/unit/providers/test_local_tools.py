"""Tools of the embedded model: a grammar that makes it call, and reading a call out of its text."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dujiang.core.chat import ChatRequest, Message
from dujiang.providers.local_tools import constrain, read_tool_call


def tool(name: str, **parameters: Any) -> dict[str, Any]:
    function: dict[str, Any] = {"name": name}
    if parameters:
        function["parameters"] = parameters
    return {"type": "function", "function": function}


WEATHER = tool("weather", type="object", properties={"city": {"type": "string"}}, required=["city"])
TIME = tool("time")


def asked(choice: object = None, **changes: Any) -> ChatRequest:
    return ChatRequest("m", [Message("user", "hi")], tools=[WEATHER, TIME], tool_choice=choice, **changes)


def schemas(request: ChatRequest) -> dict[str, Any]:
    """What may be called, by name, of a constrained request."""
    calls = request.response_format["json_schema"]["schema"]["anyOf"]
    return {call["properties"]["name"]["const"]: call["properties"]["arguments"] for call in calls}


def test_auto_is_left_free() -> None:
    for choice in (None, "auto"):
        request = constrain(asked(choice))
        assert request.response_format is None
        assert request.tool_choice is None
        assert request.tools == [WEATHER, TIME]


def test_none_takes_the_tools_away() -> None:
    request = constrain(asked("none"))
    assert (request.tools, request.tool_choice, request.response_format) == (None, None, None)


def test_required_binds_to_one_of_all() -> None:
    found = schemas(constrain(asked("required")))
    assert found == {"weather": WEATHER["function"]["parameters"], "time": {"type": "object"}}


def test_a_name_binds_to_that_one() -> None:
    assert list(schemas(constrain(asked({"type": "function", "function": {"name": "time"}})))) == ["time"]


def test_a_schema_of_the_callers_own_is_kept() -> None:
    form = {"type": "json_object"}
    assert constrain(asked("required", response_format=form)).response_format == form


@pytest.mark.parametrize(
    "choice",
    [
        {},
        {"type": "function"},
        {"type": "function", "function": None},
        {"type": "function", "function": "weather"},
        {"type": "function", "function": {}},
        {"type": "function", "function": {"name": None}},
        {"type": "function", "function": {"name": ["weather"]}},
        {"type": "function", "function": {"name": {"a": 1}}},
        {"function": []},
        "sometimes",
    ],
    ids=repr,
)
def test_a_choice_that_makes_no_sense_breaks_nothing(choice: object) -> None:
    assert constrain(asked(choice)).response_format is None


@pytest.mark.parametrize(
    "text",
    [
        '{"name":"weather","arguments":{"city":"北京"}}',
        ' {"arguments": {"city": "北京"}, "name": "weather"}\n',
        '```json\n{"name":"weather","arguments":{"city":"北京"}}\n```',
        '```\n{"name":"weather","arguments":{"city":"北京"}}```  \n',
        '{"name":"weather","arguments":{"city":"北京"},"thought":"x"}',
    ],
)
def test_a_call_is_read(text: str) -> None:
    call = read_tool_call(text, asked())
    assert (call["type"], call["index"], call["function"]["name"]) == ("function", 0, "weather")
    assert call["id"].startswith("call_")
    assert json.loads(call["function"]["arguments"]) == {"city": "北京"}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "weather",
        "null",
        "[]",
        "7",
        '"weather"',
        '{"name":"weather"}',
        '{"arguments":{}}',
        '{"name":"other","arguments":{}}',
        '{"name":"weather","arguments":null}',
        '{"name":"weather","arguments":[]}',
        '{"name":"weather","arguments":"{}"}',
        '{"name":["weather"],"arguments":{}}',
        '{"name":{"a":1},"arguments":{}}',
        '{"name":null,"arguments":{}}',
        '{"name":"weather","arguments":{}} and more',
        'I call {"name":"weather","arguments":{}}',
        '{"name":"weather","arguments":{"city":"北',
        '{"name":"weather","arguments":{"city":"\\ud800"}}',
        '```json\n{"name":"weather"',
        '{"name":"weather","arguments":' + '{"a":' * 100_000 + "1" + "}" * 100_000 + "}",
    ],
    ids=lambda text: text[:40],
)
def test_any_other_text_is_just_text(text: str) -> None:
    assert read_tool_call(text, asked()) is None


@given(st.text(max_size=80) | st.text(st.sampled_from('`{}[]":,namewthrgus\n \\'), max_size=60))
def test_no_text_breaks_it(text: str) -> None:
    call = read_tool_call(text, asked())
    assert call is None or call["function"]["name"] in ("weather", "time")


@given(
    st.dictionaries(st.text(max_size=5), st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text())
)
def test_arguments_of_any_size_arrive(arguments: dict[str, Any]) -> None:
    call = read_tool_call(json.dumps({"name": "time", "arguments": arguments}), asked())
    assert json.loads(call["function"]["arguments"]) == arguments


def test_a_long_text_is_no_trap() -> None:
    assert read_tool_call("```json\n" + "{}" * 20_000, asked()) is None
