"""What a model says comes out of both formats as it went in: no text can become an event, a line or a header."""

import json
from types import ModuleType

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from dujiang.api.request import header_id
from dujiang.api.wire import native, openai
from dujiang.core.call import Attempt, Call, Caller, ClaimedUser, ParsedChat
from dujiang.core.chat import ChatRequest, Chunk, Message, Usage
from dujiang.core.errors import AppError, InvalidRequest, StreamBroken, Unavailable
from dujiang.providers.openai_wire import read_completion, read_event
from dujiang.providers.sse import EventDecoder

EVIL = [
    'x\n\ndata: {"code":200}\n\n',
    "data: [DONE]\n\n",
    "\r\n\r\n",
    "\r",
    "\u2028\u2029\x85\x0b\x0c\x1c",
    '"}],"usage":{"prompt_tokens":0}',
    "\\u000a\\n\\",
    "\0\x01\x7f",
    "\ufeff",
    "🌊👩‍👩‍👧‍👦都江堰",
    "</script><!--",
    "[DONE]",
    ": keep-alive\n",
]
texts = st.text(st.characters(exclude_categories=("Cs",)), max_size=40) | st.sampled_from(EVIL)
pieces = st.lists(texts.filter(bool), min_size=1, max_size=6)
WIRES = [native, openai]


def made_call(request_id: str = "id-1", *, include_usage: bool = True) -> Call:
    call = Call("0190-own-id", "chat", native.parse, Caller("k", "a", ()), 0.0, 1e9, 1)
    request = ChatRequest("m", [Message("user", "hi")], stream=True)
    call.parsed = ParsedChat(request, ClaimedUser(), include_usage=include_usage)
    call.request = request
    call.request_id = request_id
    call.model, call.provider = "m", "p"
    call.attempts = [Attempt("p", "p/m", "main", "first", "only")]
    return call


def rendered(wire: ModuleType, call: Call, chunks: list[Chunk]) -> bytes:
    """A stream as the edge sends it."""
    renderer = wire.StreamRenderer(call)
    *parts, last = chunks
    sent = b"".join(renderer.event(chunk) for chunk in parts)
    if last.has_content:
        sent += renderer.event(last)
    return sent + renderer.terminal(last)


def events_of(stream: bytes) -> list[bytes]:
    decoder = EventDecoder()
    return [*decoder.feed(stream), *decoder.flush()]


def text_of(wire: ModuleType, event: bytes) -> str:
    if wire is native:
        return json.loads(event)["data"].get("delta", "")
    return "".join(choice["delta"].get("content") or "" for choice in json.loads(event)["choices"])


@pytest.mark.parametrize("wire", WIRES)
@given(said=pieces, served=texts, request_id=texts, include_usage=st.booleans())
@example(said=EVIL, served="m", request_id="id", include_usage=True)
def test_a_stream_carries_the_text_and_nothing_else(
    wire: ModuleType, said: list[str], served: str, request_id: str, include_usage: bool
) -> None:
    chunks = [Chunk(text, served=served) for text in said]
    chunks.append(Chunk("", "stop", Usage(3, 0, 0, 4), served))
    call = made_call(request_id, include_usage=include_usage)
    *events, done = events_of(rendered(wire, call, chunks))
    assert done == b"[DONE]"
    assert "".join(text_of(wire, event) for event in events) == "".join(said)
    if wire is native:
        assert len(events) == len(said) + 1
        assert {json.loads(event)["request_id"] for event in events} == {request_id}
    else:
        assert len(events) == len(said) + 2 + include_usage
        assert {json.loads(event)["model"] for event in events} == {served or "m"}


@pytest.mark.parametrize("wire", WIRES)
@given(
    text=texts,
    reasoning=texts,
    refusal=texts,
    arguments=texts,
    finish=st.sampled_from(["stop", "tool_calls", "unknown"]),
)
def test_every_part_of_a_chunk_arrives(
    wire: ModuleType, text: str, reasoning: str, refusal: str, arguments: str, finish: str
) -> None:
    calls = [{"index": 0, "id": text, "type": "function", "function": {"name": "f", "arguments": arguments}}]
    last = Chunk(text, finish, Usage(1, 0, 0, 1), None, calls, reasoning or None, refusal or None)
    *events, _ = events_of(rendered(wire, made_call(), [last]))
    found = [json.loads(event) for event in events]
    if wire is native:
        data = found[0]["data"]
        assert (data["delta"], data["tool_calls"]) == (text, calls)
        assert (data.get("reasoning", ""), data.get("refusal", "")) == (reasoning, refusal)
        assert found[-1]["data"]["finish_reason"] == finish
    else:
        delta = next(event["choices"][0]["delta"] for event in found if event["choices"][0]["delta"].get("tool_calls"))
        assert (delta.get("content", ""), delta["tool_calls"]) == (text, calls)
        assert (delta.get("reasoning_content", ""), delta.get("refusal", "")) == (reasoning, refusal)
        finishes = [event["choices"][0]["finish_reason"] for event in found if event["choices"]]
        assert finishes[-1] == finish
        assert set(finishes[:-1]) == {None}


@given(said=pieces)
def test_what_we_stream_in_openais_form_our_own_provider_reads(said: list[str]) -> None:
    chunks = [*(Chunk(text) for text in said), Chunk("", "stop", Usage(3, 2, 1, 4, 5))]
    *events, _ = events_of(rendered(openai, made_call(), chunks))
    read = [read_event(event) for event in events]
    assert "".join(event.choices[0].delta.content or "" for event in read if event.choices) == "".join(said)
    usage = read[-1].usage
    assert (usage.prompt_tokens, usage.completion_tokens, usage.total_tokens) == (6, 9, 15)
    assert usage.completion_tokens_details.reasoning_tokens == 5


@pytest.mark.parametrize("wire", WIRES)
@given(text=texts, request_id=texts, served=texts)
def test_a_whole_answer_is_one_json_document(wire: ModuleType, text: str, request_id: str, served: str) -> None:
    call = made_call(request_id)
    body = wire.render_whole(call, Chunk(text, "stop", Usage(3, 0, 0, 4), served or None))
    found = json.loads(body)
    if wire is native:
        assert (found["data"]["result"], found["request_id"]) == (text, request_id)
        assert found["data"]["usage"] == {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}
    else:
        assert found["choices"][0]["message"]["content"] == text
        assert found["dujiang"]["request_id"] == request_id
        read = read_completion(body, call.request)
        assert (read.text, read.finish, read.usage.completion_tokens) == (text, "stop", 4)


@pytest.mark.parametrize("wire", WIRES)
@given(message=texts, reason=st.none() | texts, param=st.none() | texts, request_id=texts)
def test_an_error_is_one_event_whatever_it_says(
    wire: ModuleType, message: str, reason: str | None, param: str | None, request_id: str
) -> None:
    for kind in (InvalidRequest, Unavailable, StreamBroken):
        error: AppError = kind(message, reason=reason, param=param)
        [event] = events_of(wire.render_error_event(error, made_call(request_id)))
        found = json.loads(event)
        assert message in (found["message"] if wire is native else found["error"]["message"])
        assert found["error"]["type"]


@given(st.text(max_size=250), st.just("0190-own-id"))
@example("a\r\nset-cookie: b", "0190-own-id")
@example("a\n", "0190-own-id")
@example("ａ", "0190-own-id")
@example("", "0190-own-id")
def test_a_header_id_is_one_word_of_plain_characters(request_id: str, fallback: str) -> None:
    value = header_id(request_id, fallback)
    assert value.isascii()
    assert not set(value) & set(b"\r\n\0 \t,;")
    assert 0 < len(value) <= 200
    if value != fallback.encode():
        assert value.decode() == request_id


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | texts, lambda inner: st.lists(inner) | st.dictionaries(texts, inner)
    )
)
def test_arguments_of_any_shape_are_rendered(value: object) -> None:
    """A vendor's own JSON travels in `tool_calls`; whatever was read can be written."""
    calls = msgspec.json.decode(json.dumps([{"index": 0, "x": value}]))
    for wire in WIRES:
        for event in events_of(rendered(wire, made_call(), [Chunk("", "stop", Usage(), None, calls)])):
            assert event == b"[DONE]" or json.loads(event)
