"""ERNIE V1's format: what we send, and what we make of what comes back."""

import json
from typing import Any

import pytest

from dujiang.core.chat import ChatRequest, Message
from dujiang.core.errors import InvalidRequest, Unavailable, UpstreamError
from dujiang.providers.ernie.errors import V1_CODES
from dujiang.providers.ernie.wire import ErnieFrames, InvalidToken, encode_request, read_answer

HELLO = [Message("user", "你好")]
TOOL = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object", "properties": {}}}}
SECRETS = ("ak-canary", "sk-canary")


def request(**fields: Any) -> ChatRequest:
    return ChatRequest("ernie-4.0", fields.pop("messages", HELLO), **fields)


def sent(**fields: Any) -> dict[str, Any]:
    return json.loads(encode_request(request(**fields)))


def test_unset_fields_are_not_sent() -> None:
    assert sent() == {"messages": [{"role": "user", "content": "你好"}]}


def test_what_has_a_counterpart_is_translated() -> None:
    body = sent(
        messages=[Message("system", "简短。"), *HELLO],
        temperature=0.0,
        top_p=0.5,
        max_tokens=100,
        stop="。",
        response_format={"type": "json_object"},
        stream=True,
    )
    assert body == {
        "messages": [{"role": "user", "content": "你好"}],
        "system": "简短。",
        "temperature": 0.01,
        "top_p": 0.5,
        "max_output_tokens": 100,
        "stop": ["。"],
        "response_format": "json_object",
        "stream": True,
    }


@pytest.mark.parametrize(("asked", "sent_as"), [(0.0, 0.01), (0.5, 0.5), (1.0, 1.0), (1.7, 1.0)])
def test_temperatures_are_brought_into_its_range(asked: float, sent_as: float) -> None:
    assert sent(temperature=asked)["temperature"] == sent_as


def test_penalties_and_seeds_are_never_mapped() -> None:
    body = sent(presence_penalty=1.5, frequency_penalty=-1.0, seed=7, extra={"logprobs": True})
    assert set(body) == {"messages"}


def test_the_smallest_answer_is_two_tokens() -> None:
    assert sent(max_completion_tokens=1)["max_output_tokens"] == 2


def test_tools_become_functions() -> None:
    body = sent(tools=[TOOL], tool_choice="required")
    assert body["functions"] == [
        {"name": "weather", "description": "weather", "parameters": {"type": "object", "properties": {}}}
    ]
    assert body["tool_choice"] == {"type": "function", "function": {"name": "weather"}}
    assert "functions" not in sent(tools=[TOOL], tool_choice="none")
    assert "tool_choice" not in sent(tools=[TOOL], tool_choice="auto")


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"response_format": {"type": "json_schema", "json_schema": {}}}, "response_format"),
        ({"stop": ["1", "2", "3", "4", "5"]}, "stop"),
        ({"stop": "x" * 21}, "stop"),
        ({"tools": [TOOL, TOOL], "tool_choice": "required"}, "tool_choice"),
        ({"messages": [Message("user", [{"type": "image_url", "image_url": {"url": "x"}}])]}, "messages[0].content[0]"),
        ({"messages": [Message("user", " \n\f")]}, "messages"),
        ({"messages": [Message("system", "only")]}, "messages"),
        ({"messages": [Message("tool", "x", tool_call_id="?")]}, "messages[0].tool_call_id"),
    ],
)
def test_what_it_cannot_keep_is_the_callers_to_change(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        encode_request(request(**fields))
    assert refused.value.param == param


ANSWER = {
    "id": "as-1",
    "object": "chat.completion",
    "created": 1,
    "result": "你好！",
    "is_truncated": False,
    "need_clear_history": False,
    "finish_reason": "normal",
    "usage": {"prompt_tokens": 7, "completion_tokens": 67, "total_tokens": 74},
}


def read(**changes: Any):
    return read_answer(json.dumps({**ANSWER, **changes}).encode(), request(), SECRETS)


def test_a_whole_answer() -> None:
    chunk = read()
    assert (chunk.text, chunk.finish, chunk.raw_finish) == ("你好！", "stop", "normal")
    assert (chunk.usage.prompt_tokens, chunk.usage.completion_tokens) == (7, 67)


@pytest.mark.parametrize(
    ("changes", "finish"),
    [
        ({"finish_reason": "stop"}, "stop"),
        ({"finish_reason": None}, "stop"),
        ({"finish_reason": "length"}, "length"),
        ({"is_truncated": True}, "length"),
        ({"finish_reason": "content_filter"}, "content_filter"),
        ({"need_clear_history": True}, "content_filter"),
        ({"finish_reason": "function_call", "function_call": {"name": "f", "arguments": "{}"}}, "tool_calls"),
        ({"finish_reason": "brand-new"}, "unknown"),
    ],
)
def test_finish_reasons(changes: dict[str, Any], finish: str) -> None:
    assert read(**changes).finish == finish


def test_completion_tokens_that_are_missing_are_what_the_total_leaves() -> None:
    assert read(usage={"prompt_tokens": 7, "total_tokens": 74}).usage.completion_tokens == 67


def test_missing_usage_is_estimated_and_says_so() -> None:
    usage = read(usage=None).usage
    assert usage.source == "estimated"
    assert usage.completion_tokens == 3


@pytest.mark.parametrize("code", V1_CODES)
def test_every_code_is_an_error_although_the_status_was_200(code: int) -> None:
    body = json.dumps({"error_code": code, "error_msg": "with ak-canary and sk-canary in it"}).encode()
    expected = InvalidToken if code in (100, 110, 111) else V1_CODES[code]
    with pytest.raises(expected) as failed:
        read_answer(body, request(), SECRETS)
    assert "canary" not in f"{failed.value.message} {failed.value.reason} {failed.value.raw}"


def test_an_unknown_code_is_a_failure_with_its_text_kept() -> None:
    with pytest.raises(UpstreamError) as failed:
        read_answer(b'{"error_code":424242,"error_msg":"new trouble"}', request(), SECRETS)
    assert failed.value.status == 502
    assert failed.value.raw is not None
    assert "new trouble" in failed.value.raw


@pytest.mark.parametrize(
    "body", [b"", b"{}", b"[]", b'"x"', b"<html>", b'{"result":5,"x":', b"\xff", b'{"result":null}']
)
def test_what_is_no_answer_is_an_error(body: bytes) -> None:
    with pytest.raises(UpstreamError):
        read_answer(body, request(), SECRETS)


def frames(*objects: dict[str, Any]) -> ErnieFrames:
    reader = ErnieFrames(request(), SECRETS)
    for n, item in enumerate(objects):
        reader.take(json.dumps({"id": "as-1", "sentence_id": n, "is_end": False, **item}).encode())
    return reader


def usage(completion: int) -> dict[str, Any]:
    return {"usage": {"prompt_tokens": 5, "completion_tokens": completion, "total_tokens": 5 + completion}}


def test_a_stream_takes_the_last_usage_and_skips_empty_deltas() -> None:
    reader = frames(
        {"result": "你", **usage(1)},
        {"result": "", **usage(1)},
        {"result": "好", **usage(2)},
        {"result": "", "is_end": True, "finish_reason": "normal", **usage(2)},
    )
    *deltas, last = reader.ready
    assert [chunk.text for chunk in deltas] == ["你", "好"]
    assert (last.finish, last.usage.prompt_tokens, last.usage.completion_tokens) == ("stop", 5, 2)
    assert reader.is_done


def test_a_stream_that_ends_without_its_end_was_cut() -> None:
    with pytest.raises(Unavailable):
        frames({"result": "你"}).end()


def test_a_stream_may_end_in_a_filter() -> None:
    assert frames({"result": "你", "need_clear_history": True, "is_end": True}).ready[-1].finish == "content_filter"


def test_an_error_in_a_stream() -> None:
    with pytest.raises(UpstreamError):
        frames({"result": "你"}, {"error_code": 336000, "error_msg": "Internal error"})


def test_a_call_in_a_stream() -> None:
    reader = frames({"result": "", "function_call": {"name": "f", "arguments": "{}"}}, {"result": "", "is_end": True})
    assert reader.ready[0].tool_calls[0]["function"] == {"name": "f", "arguments": "{}"}
    assert reader.ready[-1].finish == "tool_calls"
