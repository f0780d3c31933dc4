"""What the stage writes into a record: every value in its own field."""

from time import monotonic

from dujiang.core.call import Attempt, Call, Caller, ClaimedUser, ParsedChat, SceneChoice
from dujiang.core.chat import ChatRequest, Chunk, Message, Usage
from dujiang.core.errors import NotFound, StreamBroken
from dujiang.core.money import Cost, Exchange
from dujiang.core.reply import WholeReply
from dujiang.records.record import AttemptRecord, Content
from dujiang.records.stage import _outcome_of, _record_of

COST = Cost(40, "USD", "document@7", Exchange("CNY", "7.1"))


def call() -> Call:
    made = Call("id-1", "chat", lambda _: made.parsed, Caller("key-1", "shop", ("user",)), monotonic() - 1, 1e9, 7)
    made.parsed = ParsedChat(ChatRequest("asked", [Message("user", "hi")], stream=True), ClaimedUser("u-1", "guest"))
    made.request = made.parsed.request
    made.request_id = "request-1"
    made.scene = SceneChoice("scene_1", 3)
    made.model, made.provider = "served-as", "vendor"
    made.upstream_s = 0.25
    made.request_bytes, made.client_retries = 123, 2
    made.attempts = [
        Attempt("vendor", "vendor/first", "main", "first", 0.001, None, 0.1, "upstream_timeout"),
        Attempt("vendor", "vendor/second", "spare", "retry", 0.002, 0.05, 0.2, None, COST),
    ]
    return made


def test_every_value_is_in_its_own_field() -> None:
    reply = WholeReply(Chunk("text", "stop", Usage(1, 2, 3, 4, 5), "vendor-0613"))
    reply.last = reply._chunk
    content = Content("[]", "text")
    record = _record_of(call(), "ok", 200, None, reply, 0.5, content)
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
        "overhead_ms": 250.0,
        "queue_ms": 0.0,
        "config_revision": 7,
        "routing": None,
        "parent_id": None,
        "client_retries": 2,
        "request_bytes": 123,
        "attempts": (
            AttemptRecord("vendor", "vendor/first", "main", "first", "upstream_timeout", 1.0, None, 100.0, None),
            AttemptRecord("vendor", "vendor/second", "spare", "retry", None, 2.0, 50.0, 200.0, 40),
        ),
        "content": content,
        "account_currency": "CNY",
        "exchange_rate": "7.1",
    }


def test_attempts_in_two_currencies_are_summed_in_the_last_ones() -> None:
    asked = call()
    asked.attempts[0].cost = Cost(7_100, "CNY", "document@7", Exchange("CNY", "1"))
    record = _record_of(asked, "ok", 200, None)
    assert (record.cost_micros, record.currency, record.exchange_rate) == (1_040, "USD", "7.1")
    assert [each.cost_micros for each in record.attempts] == [1_000, 40]


def test_a_call_that_did_not_parse_is_recorded_too() -> None:
    unread = Call("id-2", "chat", lambda _: None, Caller("key-1", "shop", ()), monotonic(), 1e9, 1)  # pyright: ignore[reportArgumentType]
    record = _record_of(unread, "refused", 404, NotFound("There is no such model.", param="model"))
    assert (record.status, record.http_status, record.error_type) == ("refused", 404, "not_found")
    assert (record.model_requested, record.attempts, record.usage_source, record.cost_micros) == ("", (), None, None)


def test_outcomes() -> None:
    assert _outcome_of(NotFound("x")) == ("refused", 404)
    assert _outcome_of(StreamBroken("x")) == ("error", 502)
    assert _outcome_of(RuntimeError()) == ("error", 500)
    assert _outcome_of(KeyboardInterrupt()) == ("cancelled", 499)
