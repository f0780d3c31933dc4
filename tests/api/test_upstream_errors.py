"""Everything that OpenAI's API and its stand-ins can answer or do, and what our caller then gets.

Never a bare 500, never the vendor's 401, in both formats, with the attempt in the error.
"""

import pytest
from gateway import Gateway, behaving, counters

from dujiang.emulator.openai.failures import FAILURES
from dujiang.emulator.server import Emulator

UPSTREAM = "gpt-4-0613"

pytestmark = pytest.mark.usefixtures("restored")

CLASSES = {
    "invalid_request_error": (400, "upstream_rejected"),
    "invalid_value": (400, "upstream_rejected"),
    "unsupported_parameter": (400, "upstream_rejected"),
    "unsupported_value": (400, "upstream_rejected"),
    "context_length_exceeded": (400, "context_length_exceeded"),
    "string_above_max_length": (400, "context_length_exceeded"),
    "content_policy_violation": (400, "content_filtered"),
    "safety_system": (400, "content_filtered"),
    "invalid_prompt": (400, "content_filtered"),
    "invalid_api_key": (502, "upstream_bad_credential"),
    "no_organization": (502, "upstream_bad_credential"),
    "ip_not_authorized": (502, "upstream_bad_credential"),
    "unsupported_country_region_territory": (502, "upstream_bad_credential"),
    "model_permission": (502, "upstream_model_missing"),
    "model_not_found": (502, "upstream_model_missing"),
    "request_timeout": (504, "upstream_timeout"),
    "conflict": (502, "upstream_error"),
    "request_too_large": (400, "context_length_exceeded"),
    "rate_limit_exceeded": (429, "upstream_throttled"),
    "tokens_per_min": (429, "upstream_throttled"),
    "request_too_large_for_tpm": (400, "context_length_exceeded"),
    "slow_down": (429, "upstream_throttled"),
    "insufficient_quota": (502, "upstream_out_of_quota"),
    "credit_balance_exhausted": (502, "upstream_out_of_quota"),
    "organization_spend_limit_exceeded": (502, "upstream_out_of_quota"),
    "project_spend_limit_exceeded": (502, "upstream_out_of_quota"),
    "organization_usage_limit_exceeded": (502, "upstream_out_of_quota"),
    "server_error": (502, "upstream_error"),
    "bad_gateway": (502, "upstream_error"),
    "server_is_overloaded": (503, "upstream_unavailable"),
    "gateway_timeout": (504, "upstream_timeout"),
    "BadRequestError": (400, "upstream_rejected"),
    "NotFoundError": (502, "upstream_model_missing"),
    "InternalServerError": (502, "upstream_error"),
    "Unauthorized": (502, "upstream_bad_credential"),
    "vllm_context_length": (400, "context_length_exceeded"),
    "vllm_flat": (400, "context_length_exceeded"),
    "ollama_400": (400, "upstream_rejected"),
    "ollama_404": (502, "upstream_model_missing"),
    "ollama_429": (429, "upstream_throttled"),
    "ollama_500": (502, "upstream_error"),
    "ollama_502": (502, "upstream_error"),
    "ollama_503": (503, "upstream_unavailable"),
}


def test_the_table_is_complete() -> None:
    assert set(CLASSES) == set(FAILURES)


@pytest.mark.parametrize(("name", "expected"), CLASSES.items())
@pytest.mark.parametrize("stream", [False, True])
def test_every_documented_error(
    gateway: Gateway, emulator: Emulator, name: str, expected: tuple[int, str], stream: bool
) -> None:
    with behaving(emulator, UPSTREAM, f"error={name}"):
        before = counters(emulator, UPSTREAM)["attempts"]
        answer = gateway.chat(stream=stream)
        assert counters(emulator, UPSTREAM)["attempts"] == before + 1
    body = answer.json
    assert (answer.status, body["error"]["type"]) == expected
    assert body["code"] == answer.status
    assert body["data"] is None
    assert body["message"]
    assert "sk-emula" not in answer.body.decode()
    assert [attempt["error"] for attempt in body["error"]["attempts"]] == [expected[1]]


@pytest.mark.parametrize(
    ("behaviour", "expected"),
    [
        ("reset_before_headers", 503),
        ("reset_after_headers", 503),
        ("garbage", 502),
        ("html_502", 502),
        ("empty_200", 502),
        ("json_string_401", 502),
        ("gzip_bomb", 502),
        ("deep_json", 502),
        ("bad_content_length", 502),
        ("redirect_to_other_host", 502),
        ("half_close", 503),
        ("cut_mid_json", 503),
        ("error_in_stream", 502),
    ],
)
def test_every_fault_of_a_whole_answer(gateway: Gateway, emulator: Emulator, behaviour: str, expected: int) -> None:
    with behaving(emulator, UPSTREAM, behaviour):
        answer = gateway.chat()
    assert answer.status == expected
    assert answer.json["error"]["type"].startswith("upstream_")
    gateway.restore()
    assert gateway.chat().status == 200


@pytest.mark.parametrize(
    ("behaviour", "expected"),
    [
        ("reset_before_headers", 503),
        ("reset_after_headers", 503),
        ("garbage", 502),
        ("html_502", 502),
        ("empty_200", 502),
        ("cut_after=0", 503),
        ("oversize_line", 502),
        ("gzip_bomb", 502),
        ("redirect_to_other_host", 502),
    ],
)
def test_a_stream_that_fails_before_its_first_token_is_a_plain_error(
    gateway: Gateway, emulator: Emulator, behaviour: str, expected: int
) -> None:
    with behaving(emulator, UPSTREAM, behaviour):
        answer = gateway.chat(stream=True)
    assert answer.status == expected
    assert answer.json["error"]["type"].startswith("upstream_")


@pytest.mark.parametrize(
    "behaviour",
    ["cut_after=3", "cut_mid_utf8", "cut_mid_json", "fin_without_done", "error_in_stream", "error_in_stream_then_done"],
)
@pytest.mark.parametrize("path", ["/api/v1/chat/completions", "/v1/chat/completions"])
def test_a_stream_that_breaks_says_so_and_is_not_done(
    gateway: Gateway, emulator: Emulator, behaviour: str, path: str
) -> None:
    body = (
        {"model": "gpt-4", "parameters": {"prompt": "hi", "stream": True}}
        if path.startswith("/api")
        else {"model": "gpt-4", "messages": [{"role": "user", "content": "hi"}], "stream": True}
    )
    with behaving(emulator, UPSTREAM, f"{behaviour};chunk_interval=20"):
        answer = gateway.ask(path, body)
    assert answer.status == 200
    *_, last = answer.events
    assert last != "[DONE]"
    assert last["error"]
    if path.startswith("/api"):
        assert last["code"] >= 400
        assert last["error"]["type"] == "upstream_stream_broken"
        assert last["error"]["attempts"][0]["error"] == "upstream_stream_broken"


@pytest.mark.parametrize(
    "behaviour",
    [
        "ok",
        "ok_crlf",
        "ok_no_space_after_colon",
        "ok_no_done",
        "ok_comments",
        "ok_utf8_split",
        "drip_1_byte",
        "usage_missing",
        "usage_zero",
        "usage_every_chunk",
        "usage_last_content_chunk",
        "usage_wrong",
        "usage_huge",
        "json_on_stream",
    ],
)
def test_every_dialect_of_a_good_stream(gateway: Gateway, emulator: Emulator, behaviour: str) -> None:
    plain = gateway.chat().json["data"]
    with behaving(emulator, UPSTREAM, behaviour):
        *events, done = gateway.chat(stream=True).events
    assert done == "[DONE]"
    assert "".join(event["data"].get("delta", "") for event in events) == plain["result"]
    usage = events[-1]["data"]["usage"]
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]
    assert 0 <= usage["total_tokens"] < 10**6
    if behaviour not in ("usage_missing", "usage_huge", "usage_zero"):
        assert usage == plain["usage"]


@pytest.mark.parametrize("behaviour", ["ok_blank_lines_then_json", "usage_missing", "usage_huge", "slow_headers"])
def test_every_dialect_of_a_good_whole_answer(gateway: Gateway, emulator: Emulator, behaviour: str) -> None:
    with behaving(emulator, UPSTREAM, behaviour):
        answer = gateway.chat()
    assert answer.status == 200
    assert 0 < answer.json["data"]["usage"]["total_tokens"] < 10**6


def test_retry_after_is_passed_on(gateway: Gateway, emulator: Emulator) -> None:
    with behaving(emulator, UPSTREAM, "error=rate_limit_exceeded;retry_after=7"):
        answer = gateway.chat()
    assert answer.headers["retry-after"] == "7"
    assert answer.json["error"]["retry_after_s"] == 7


@pytest.mark.parametrize("value", ["-1", "nan", "1e400", "Fri, 31 Dec 9999 23:59:59 GMT", "soon"])
def test_a_retry_after_that_means_nothing_breaks_nothing(gateway: Gateway, emulator: Emulator, value: str) -> None:
    with behaving(emulator, UPSTREAM, f"error=rate_limit_exceeded;retry_after={value}"):
        answer = gateway.chat()
    assert answer.status == 429
    assert answer.json["error"]["retry_after_s"] in (None, 86400)


def test_a_service_that_nobody_runs(gateway: Gateway) -> None:
    answer = gateway.chat("down")
    assert answer.status == 503
    assert answer.json["error"]["type"] == "upstream_unavailable"


@pytest.mark.parametrize("stream", [False, True])
def test_a_service_that_hangs_is_a_timeout(gateway: Gateway, emulator: Emulator, stream: bool) -> None:
    with behaving(emulator, "hasty", "hang"):
        answer = gateway.chat("hasty", stream=stream)
    assert answer.status == 504
    assert answer.json["error"]["type"] == "upstream_timeout"


def test_comments_are_not_tokens(gateway: Gateway, emulator: Emulator) -> None:
    with behaving(emulator, "hasty", "ok_comments;ttft=5000"):
        assert gateway.chat("hasty", stream=True).status == 504


def test_silence_between_tokens_breaks_the_stream(gateway: Gateway, emulator: Emulator) -> None:
    with behaving(emulator, "hasty", "chunks=5;chunk_interval=5000"):
        events = gateway.chat("hasty", stream=True).events
    assert events[-1]["error"]["type"] == "upstream_stream_broken"
