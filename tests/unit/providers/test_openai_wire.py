"""The OpenAI format as we speak it to vendors: what is sent, what is never sent, and what an answer means."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dujiang.api.wire import native, openai
from dujiang.core.chat import ChatRequest, Message
from dujiang.core.errors import Unavailable, UpstreamError
from dujiang.providers.openai_wire import encode_request, finish_of, read_completion
from dujiang.providers.presets import PRESETS, Preset

PLAIN = PRESETS["openai"]
MESSAGES = [Message("user", "hi")]
texts = st.text(max_size=10)
objects = st.dictionaries(texts, st.integers(0, 9) | texts, max_size=2)

messages = st.builds(
    Message,
    st.sampled_from(["system", "developer", "user", "assistant", "tool"]),
    st.none() | texts | st.lists(objects, max_size=2),
    st.none() | texts,
    st.none() | st.lists(objects, max_size=2),
    st.none() | texts,
    st.none() | texts,
    st.none() | texts,
)
requests = st.builds(
    ChatRequest,
    texts,
    st.lists(messages, min_size=1, max_size=3),
    st.booleans(),
    st.none() | st.floats(0, 2),
    st.none() | st.floats(0, 1),
    st.none() | st.integers(1, 99),
    st.none() | st.integers(1, 99),
    st.none() | texts | st.lists(texts, max_size=2),
    st.none() | st.integers(-9, 9),
    st.none() | st.floats(-2, 2),
    st.none() | st.floats(-2, 2),
    st.none() | st.lists(objects, min_size=1, max_size=2),
    st.none() | texts | objects,
    st.none() | st.booleans(),
    st.none() | objects,
    st.none()
    | st.dictionaries(
        st.sampled_from(["logprobs", "top_logprobs", "logit_bias", "metadata", "store", "verbosity"]), st.integers(0, 9)
    ),
)
FIELDS = set(ChatRequest.__struct_fields__) - {"extra"}


def sent(request: ChatRequest, preset: Preset = PLAIN, model: str = "vendor-model") -> dict[str, Any]:
    return json.loads(encode_request(request, model, preset))


@given(requests, st.sampled_from(sorted(PRESETS)))
def test_what_is_unset_is_never_sent(request: ChatRequest, kind: str) -> None:
    preset = PRESETS[kind]
    body = sent(request, preset)
    assert None not in body.values()
    assert all(None not in message.values() for message in body["messages"])
    assert body["model"] == "vendor-model"
    assert set(body) <= FIELDS | set(request.extra or {}) | {"stream_options"}
    assert not set(body) & preset.drops
    assert not set(body) & {old for old, _ in preset.renames}
    assert ("stream" in body) == request.stream
    assert ("stream_options" in body) == (request.stream and preset.has_stream_usage)


@given(requests)
def test_what_is_set_is_sent_unchanged(request: ChatRequest) -> None:
    body = sent(request)
    asked = msgspec.to_builtins(request)
    for name in FIELDS - {"model", "stream"}:
        assert body.get(name) == asked.get(name)
    for name, value in (request.extra or {}).items():
        assert body[name] == value


@given(requests)
def test_the_callers_own_request_is_left_alone(request: ChatRequest) -> None:
    before = msgspec.json.encode(request)
    for preset in PRESETS.values():
        encode_request(request, "m", preset)
    assert msgspec.json.encode(request) == before


@pytest.mark.parametrize("kind", sorted(PRESETS))
def test_the_developer_role_is_for_those_who_know_it(kind: str) -> None:
    request = ChatRequest("m", [Message("developer", "be brief"), Message("user", "hi")])
    roles = [message["role"] for message in sent(request, PRESETS[kind])["messages"]]
    assert roles == (["developer", "user"] if kind == "openai" else ["system", "user"])


def test_a_renamed_limit_gives_way_to_one_that_was_given() -> None:
    preset = PRESETS["deepseek"]
    assert sent(ChatRequest("m", MESSAGES, max_completion_tokens=7), preset)["max_tokens"] == 7
    assert sent(ChatRequest("m", MESSAGES, max_tokens=5, max_completion_tokens=7), preset)["max_tokens"] == 5
    assert sent(ChatRequest("m", MESSAGES, max_completion_tokens=7))["max_completion_tokens"] == 7


def test_what_a_vendor_refuses_is_dropped() -> None:
    request = ChatRequest("m", MESSAGES, seed=7, presence_penalty=1.0, extra={"logit_bias": {"1": 2}, "store": True})
    assert "seed" in sent(request)
    body = sent(request, PRESETS["zhipu"])
    assert set(body) == {"model", "messages", "store"}


@pytest.mark.parametrize("parse", [native.parse, openai.parse])
def test_a_null_of_the_callers_is_not_passed_on(parse) -> None:
    names = ("temperature", "top_p", "max_tokens", "stop", "seed", "tools", "tool_choice", "response_format")
    unset = dict.fromkeys(names)
    body = (
        {"model": "m", "parameters": {"prompt": "hi", **unset}}
        if parse is native.parse
        else {"model": "m", "messages": [{"role": "user", "content": "hi", "name": None}], **unset, "logit_bias": None}
    )
    request = parse(json.dumps(body).encode()).request
    assert sent(request) == {"model": "vendor-model", "messages": [{"role": "user", "content": "hi"}]}


@pytest.mark.parametrize("number", [2**53 + 1, 2**63, 2**64, 10**30, -(2**63) - 1, 0.1, 1e300])
def test_a_number_of_a_schema_arrives_as_it_was(number: float) -> None:
    tool = {"type": "function", "function": {"name": "f", "parameters": {"maximum": number}}}
    body = {"model": "m", "messages": [{"role": "user", "content": "hi"}], "tools": [tool]}
    request = openai.parse(json.dumps(body).encode()).request
    assert sent(request)["tools"][0]["function"]["parameters"]["maximum"] == number


@pytest.mark.parametrize(
    ("raw", "finish"),
    [
        ("stop", "stop"),
        ("length", "length"),
        ("tool_calls", "tool_calls"),
        ("function_call", "tool_calls"),
        ("content_filter", "content_filter"),
        ("sensitive", "content_filter"),  # Zhipu
        ("model_context_window_exceeded", "length"),  # Zhipu
        ("network_error", "error"),  # Zhipu
        ("insufficient_system_resource", "error"),  # DeepSeek
        ("aborted", "error"),  # DeepSeek
        ("abort", "error"),  # vLLM
        ("repetition", "unknown"),  # vLLM
        ("load", "unknown"),  # Ollama
        ("<|endoftext|>", "unknown"),  # Hunyuan: whatever matched
        ("", None),  # StepFun, on pieces that are not the last
        (None, None),
    ],
)
def test_finish_reasons(raw: str | None, finish: str | None) -> None:
    assert finish_of(raw) == finish


def answer(**changes: Any) -> bytes:
    message = {"role": "assistant", "content": "hello", **changes.pop("message", {})}
    choice = {"index": 0, "message": message, "finish_reason": "stop", **changes.pop("choice", {})}
    return json.dumps({"id": "x", "model": "gpt-4-0613", "choices": [choice], **changes}).encode()


REQUEST = ChatRequest("m", MESSAGES)


def test_an_answer_is_one_chunk() -> None:
    usage = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
    chunk = read_completion(b"\n\n" + answer(usage=usage), REQUEST)
    assert (chunk.text, chunk.finish, chunk.raw_finish, chunk.served) == ("hello", "stop", "stop", "gpt-4-0613")
    assert (chunk.usage.prompt_tokens, chunk.usage.completion_tokens, chunk.usage.source) == (3, 2, "provider")


def test_both_names_of_reasoning_are_read() -> None:
    assert read_completion(answer(message={"reasoning": "a"}), REQUEST).reasoning == "a"
    assert read_completion(answer(message={"reasoning_content": "b"}), REQUEST).reasoning == "b"


def test_an_unknown_finish_is_kept_beside_ours() -> None:
    chunk = read_completion(answer(choice={"finish_reason": "巧"}), REQUEST)
    assert (chunk.finish, chunk.raw_finish) == ("unknown", "巧")
    assert read_completion(answer(choice={"finish_reason": None}), REQUEST).finish == "unknown"


@pytest.mark.parametrize("raw", ["network_error", "insufficient_system_resource", "aborted", "abort"])
def test_an_answer_that_says_it_failed_is_an_error(raw: str) -> None:
    with pytest.raises(Unavailable) as failed:
        read_completion(answer(choice={"finish_reason": raw}), REQUEST)
    assert failed.value.reason == raw


def test_fields_that_nobody_told_us_of_are_no_reason_to_fail() -> None:
    chunk = read_completion(
        answer(
            message={"annotations": [1], "audio": None, "content": None, "refusal": "no", "tool_calls": []},
            choice={"stop_reason": 7, "logprobs": None},
            system_fingerprint="",
            service_tier=None,
            model=None,
        ),
        REQUEST,
    )
    assert (chunk.text, chunk.refusal, chunk.tool_calls) == ("", "no", None)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{}",
        b"null",
        b"[]",
        b'"text"',
        b"<html>",
        b"\xff\xfe",
        b'{"choices":[]}',
        b'{"choices":null}',
        b'{"choices":[{}]}',
        b'{"choices":[{"message":null}]}',
        b'{"choices":[{"message":{"content":7}}]}',
        b'{"choices":{"0":1}}',
        b'{"choices":[{"message":{"content":"\\ud800"}}]}',
        b'{"choices":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        answer()[:-10],
        answer() + answer(),
    ],
)
def test_what_is_no_answer_is_an_error_of_the_services(body: bytes) -> None:
    with pytest.raises(UpstreamError) as failed:
        read_completion(body, REQUEST)
    assert failed.value.reason == "bad_answer"


@given(st.binary(max_size=200))
def test_no_bytes_break_it(body: bytes) -> None:
    with pytest.raises(UpstreamError):
        read_completion(body, REQUEST)
