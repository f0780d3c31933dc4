"""What the stage writes into a record: every value in its own field."""

import json
from time import monotonic
from typing import Any

import msgspec
import pytest

from dujiang.core.call import Attempt, Call, Caller, ClaimedUser, ParsedChat, SceneChoice
from dujiang.core.chat import ChatRequest, Chunk, Message, Usage
from dujiang.core.errors import NotFound, StreamBroken
from dujiang.core.money import Charge, Cost, Exchange
from dujiang.core.reply import WholeReply
from dujiang.records.content import CONTENT_BYTES
from dujiang.records.record import AttemptRecord, Content, Record, decode, encode
from dujiang.records.stage import _encoded, _outcome_of, _row_of, _said_in

CHARGE = Charge("0123456789abcdef", "app:shop", 1_700_000_000, "CNY", 284, 5_000_000, 4_000_000)
COST = Cost(40, "USD", "document@7", Exchange("CNY", "7.1"))


def call() -> Call:
    made = Call("id-1", "chat", lambda _: made.parsed, Caller("key-1", "shop", ("user",)), monotonic() - 1, 1e9, 7)
    made.parsed = ParsedChat(ChatRequest("asked", [Message("user", "hi")], stream=True), ClaimedUser("u-1", "guest"))
    made.request = made.parsed.request
    made.request_id = "request-1"
    made.scene = SceneChoice("scene_1", 3)
    made.model, made.provider = "served-as", "vendor"
    made.upstream_s, made.waited_s = 0.25, 0.15
    made.request_bytes, made.client_retries = 123, 2
    made.charges = [CHARGE]
    made.attempts = [
        Attempt("vendor", "vendor/first", "main", "first", "least_loaded", 0.001, None, 0.1, "upstream_timeout"),
        Attempt("vendor", "vendor/second", "spare", "retry", "only", 0.002, 0.05, 0.2, None, COST),
    ]
    return made


def test_every_value_is_in_its_own_field() -> None:
    reply = WholeReply(Chunk("text", "stop", Usage(1, 2, 3, 4, 5), "vendor-0613"))
    reply.last = reply._chunk
    made = call()
    record = decode(_encoded(_row_of(made, "ok", 200, None, reply, 0.5, _said_in(made, reply, is_masked=True))))
    found = {name: getattr(record, name) for name in record.__struct_fields__}
    assert abs(found.pop("total_ms") - 1000) < 500
    assert found.pop("started_at_ms") > 1_700_000_000_000
    assert found == {
        "id": "id-1",
        "request_id": "request-1",
        "app": "shop",
        "key_id": "key-1",
        "endpoint": "chat",
        "status": "ok",
        "http_status": 200,
        "user_id": "u-1",
        "user_role": "guest",
        "scene": "scene_1",
        "scene_version": 3,
        "model_requested": "asked",
        "model": "served-as",
        "served": "vendor-0613",
        "provider": "vendor",
        "target": "vendor/second",
        "credential": "spare",
        "stream": True,
        "error_type": None,
        "error_text": None,
        "finish_reason": "stop",
        "input_uncached": 1,
        "cache_read": 2,
        "cache_write": 3,
        "output_visible": 4,
        "reasoning": 5,
        "usage_source": "provider",
        "cost_micros": 40,
        "currency": "USD",
        "price_version": "document@7",
        "cached": None,
        "first_token_ms": 500.0,
        "overhead_ms": 100.0,
        "queue_ms": 150.0,
        "config_revision": 7,
        "routing": None,
        "parent_id": None,
        "client_retries": 2,
        "request_bytes": 123,
        "attempts": (
            AttemptRecord(
                "vendor", "vendor/first", "main", "first least_loaded", "upstream_timeout", 1.0, None, 100.0, None
            ),
            AttemptRecord("vendor", "vendor/second", "spare", "retry only", None, 2.0, 50.0, 200.0, 40),
        ),
        "content": Content('[{"role":"user","content":"hi"}]', "text"),
        "account_currency": "CNY",
        "exchange_rate": "7.1",
        "charges": (CHARGE,),
    }


def test_attempts_in_two_currencies_are_summed_in_the_last_ones() -> None:
    asked = call()
    asked.attempts[0].cost = Cost(7_100, "CNY", "document@7", Exchange("CNY", "1"))
    record = decode(_encoded(_row_of(asked, "ok", 200, None)))
    assert (record.cost_micros, record.currency, record.exchange_rate) == (1_040, "USD", "7.1")
    assert [each.cost_micros for each in record.attempts] == [1_000, 40]


def test_a_call_that_did_not_parse_is_recorded_too() -> None:
    unread = Call("id-2", "chat", lambda _: None, Caller("key-1", "shop", ()), monotonic(), 1e9, 1)  # pyright: ignore[reportArgumentType]
    record = decode(_encoded(_row_of(unread, "refused", 404, NotFound("There is no such model.", param="model"))))
    assert (record.status, record.http_status, record.error_type) == ("refused", 404, "not_found")
    assert (record.model_requested, record.attempts, record.usage_source, record.cost_micros) == ("", (), None, None)


def kept_of(messages: list[Message], answer: str) -> tuple[list[dict[str, Any]], str]:
    """What a record keeps of a conversation."""
    made = call()
    made.request = ChatRequest("asked", messages)
    reply = WholeReply(Chunk())
    reply.said = [answer]
    content = decode(
        _encoded(_row_of(made, "ok", 200, None, reply, 0.5, _said_in(made, reply, is_masked=True)))
    ).content
    assert content is not None
    return json.loads(content.messages), content.result


def test_a_conversation_is_kept_as_it_was() -> None:
    parts: list[dict[str, Any]] = [
        {"type": "text", "text": "看\n\u0000"},
        {"type": "image_url", "image_url": {"url": "u"}},
    ]
    tools = [{"id": "1", "type": "function", "function": {"name": "f", "arguments": '{"a": 1.5}'}}]
    messages = [Message("user", parts), Message("assistant", tool_calls=tools), Message("tool", "3", tool_call_id="1")]
    assert kept_of(messages, "好的")[0] == msgspec.to_builtins(messages)


@pytest.mark.parametrize("long", ["x" * 5 * CONTENT_BYTES, "都" * CONTENT_BYTES, "😀" * CONTENT_BYTES])
def test_what_is_too_long_is_cut_in_its_texts_alone(long: str) -> None:
    messages, answer = kept_of(
        [Message("system", "short"), Message("user", long), Message("user", "not reached")], long
    )
    assert [message["role"] for message in messages] == ["system", "user"]
    assert messages[0]["content"] == "short"
    for kept, room in ((messages[1]["content"], CONTENT_BYTES - 69), (answer, CONTENT_BYTES)):
        assert long.startswith(kept)
        assert room - 4 < len(kept.encode()) <= room


def test_many_messages_without_a_text_are_too_long_too() -> None:
    messages, _ = kept_of([Message("user", "")] * 100_000, "")
    assert 1000 < len(messages) < 10_000


def test_a_long_answer_does_not_cost_the_messages() -> None:
    assert kept_of([Message("user", "why?")], "x" * 2 * CONTENT_BYTES)[0] == [{"role": "user", "content": "why?"}]


@pytest.mark.parametrize("number", [2**64, -(2**63) - 1, 10**300])
def test_a_number_too_large_for_the_journal_is_kept_in_a_text(number: int) -> None:
    messages, answer = kept_of([Message("user", [{"type": "text", "text": "hi", "n": number}])], "text")
    [message] = messages
    assert str(number) in message["content"]
    assert answer == "text"


def test_an_error_longer_than_what_is_kept_of_content_is_recorded() -> None:
    failure = StreamBroken("x" * 2 * CONTENT_BYTES)
    assert decode(_encoded(_row_of(call(), "error", 502, failure))).error_text == failure.message


def test_records_of_the_first_format_are_read() -> None:
    """They had the messages as JSON already."""
    content = Content('[{"role":"user","content":"hi"}]', "text")
    written = encode(Record("id", "request", 1, "shop", "k", "chat", "ok", 200, content=content))
    assert content.messages.encode() in written
    assert decode(written).content == content


def test_outcomes() -> None:
    assert _outcome_of(NotFound("x")) == ("refused", 404)
    assert _outcome_of(StreamBroken("x")) == ("error", 502)
    assert _outcome_of(RuntimeError()) == ("error", 500)
    assert _outcome_of(KeyboardInterrupt()) == ("cancelled", 499)
