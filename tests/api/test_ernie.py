"""ERNIE's two generations against the emulator: one provider, the same answers, every error in its class."""

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import openai
import pytest
from gateway import ADMIN_KEY, ONE_ATTEMPT, Answer, Gateway, behaving, counters, serving

from dujiang.core.errors import BadCredential
from dujiang.emulator.ernie.v1.failures import FAILURES as V1_FAILURES
from dujiang.emulator.ernie.v2.failures import FAILURES as V2_FAILURES
from dujiang.emulator.server import Emulator
from dujiang.providers.ernie.errors import V1_CODES

V2_KEY = "bce-v3/ALTAK-abc123/0123456789abcdef"
HEX = "0123456789abcdef0123456789abcdef"
PATH = {"old": "completions_pro", "new": "ernie-4.0-8k"}

DOCUMENT = f"""{ONE_ATTEMPT}
providers:
  v1: {{kind: ernie, base_url: "${{ERNIE}}", allow_private_network: true,
       credentials: [{{name: main, secret: "AKcanary1:SKcanary2"}}]}}
  v2: {{kind: ernie, base_url: "${{ERNIE}}", allow_private_network: true,
       credentials: [{{name: main, secret: "{V2_KEY}"}}]}}
models:
  old: {{targets: [{{provider: v1, model: ERNIE-4.0-8K}}]}}
  new: {{targets: [{{provider: v2, model: ERNIE-4.0-8K}}]}}
aliases: {{文心一言: old}}
"""

V2_CLASSES = {
    400: (400, "upstream_rejected"),
    401: (502, "upstream_bad_credential"),
    403: (400, "content_filtered"),
    405: (400, "upstream_rejected"),
    429: (429, "upstream_throttled"),
    500: (502, "upstream_error"),
}
"""What a V2 error becomes by its status, but for the codes below."""

V2_SPECIAL = {
    "characters_too_long": (400, "context_length_exceeded"),
    "tokens_too_long": (400, "context_length_exceeded"),
    "image_url_unsafe": (400, "content_filtered"),
    "no_parameter_permission": (400, "upstream_rejected"),
    "account_overdue": (502, "upstream_out_of_quota"),
    "model_offline": (502, "upstream_model_missing"),
    "model_permission": (502, "upstream_model_missing"),
    "cluster_rate_limit_exceeded": (503, "upstream_unavailable"),
    "cluster_rpm_rate_limit_exceeded": (503, "upstream_unavailable"),
    "cluster_tpm_rate_limit_exceeded": (503, "upstream_unavailable"),
    "preemptible_rate_limit_exceeded": (503, "upstream_unavailable"),
    "Offline_batch_reasoning_refused": (503, "upstream_unavailable"),
    "QUOTA_USER_DAILY_FREE": (502, "upstream_out_of_quota"),
    "BILLING_INSUFFICIENT_BALANCE": (502, "upstream_out_of_quota"),
}


@pytest.fixture(scope="module")
def ernie(emulator: Emulator, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with serving(tmp_path_factory.mktemp("ernie"), DOCUMENT, environ={"ERNIE": emulator.url}) as gateway:
        yield gateway


@pytest.fixture(autouse=True)
def restored(ernie: Gateway) -> None:
    ernie.restore()


def text_of(answer: Answer) -> str:
    return "".join(event["data"].get("delta", "") for event in answer.events[:-1])


@pytest.mark.parametrize("model", ["old", "new", "文心一言"])
def test_whole_and_streamed_answers_have_one_shape(ernie: Gateway, model: str) -> None:
    whole = ernie.chat(model).json["data"]
    streamed = ernie.chat(model, stream=True)
    last = streamed.events[-2]["data"]
    assert set(whole) == {"result", "model_info", "usage", "finish_reason", "attempts", "cost"}
    assert text_of(streamed) == whole["result"]
    assert last["usage"] == whole["usage"]
    assert whole["usage"]["total_tokens"] == whole["usage"]["prompt_tokens"] + whole["usage"]["completion_tokens"] > 0
    assert last["finish_reason"] == whole["finish_reason"] == "stop"
    assert whole["model_info"]["provider"] in ("v1", "v2")


@pytest.mark.parametrize("model", ["old", "new"])
def test_the_official_sdk(ernie: Gateway, model: str) -> None:
    messages = [{"role": "system", "content": "简短。"}, {"role": "user", "content": "你好"}]
    with openai.OpenAI(base_url=f"{ernie.url}/v1", api_key=ADMIN_KEY, max_retries=0) as sdk:
        whole = sdk.chat.completions.create(model=model, messages=messages)
        options = {"include_usage": True}
        chunks = list(sdk.chat.completions.create(model=model, messages=messages, stream=True, stream_options=options))
    assert whole.choices[0].finish_reason == "stop"
    content = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert content == whole.choices[0].message.content
    assert chunks[-1].usage.total_tokens == whole.usage.total_tokens


@pytest.mark.parametrize("model", ["old", "new"])
@pytest.mark.parametrize(
    ("behaviour", "finish"),
    [
        ("finish=normal", "stop"),
        ("finish=length", "length"),
        ("finish=content_filter", "content_filter"),
        ("need_clear_history", "content_filter"),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_finish_reasons(
    ernie: Gateway, emulator: Emulator, model: str, behaviour: str, finish: str, stream: bool
) -> None:
    with behaving(emulator, PATH[model], behaviour):
        answer = ernie.chat(model, stream=stream)
    data = answer.events[-2]["data"] if stream else answer.json["data"]
    assert data["finish_reason"] == finish


@pytest.mark.parametrize("model", ["old", "new"])
@pytest.mark.parametrize(
    "behaviour",
    [
        "ok_utf8_split",
        "empty_deltas",
        "ok_comments",
        "ok_crlf",
        "drip_1_byte",
        "usage_every_chunk",
        "usage_last_content_chunk",
        "usage_missing",
        "usage_wrong",
        "json_on_stream",
    ],
)
def test_every_form_of_a_good_stream_counts_once(
    ernie: Gateway, emulator: Emulator, model: str, behaviour: str
) -> None:
    plain = ernie.chat(model).json["data"]
    with behaving(emulator, PATH[model], behaviour):
        streamed = ernie.chat(model, stream=True)
    assert streamed.events[-1] == "[DONE]"
    assert text_of(streamed) == plain["result"]
    usage = streamed.events[-2]["data"]["usage"]
    assert 0 < usage["total_tokens"] < 1000
    if behaviour not in ("usage_missing", "usage_wrong"):
        assert usage == plain["usage"]


@pytest.mark.parametrize("model", ["old", "new"])
@pytest.mark.parametrize(
    "behaviour", ["cut_after=3", "cut_mid_utf8", "cut_mid_json", "fin_without_done", "error_in_stream"]
)
def test_a_stream_that_breaks_says_so(ernie: Gateway, emulator: Emulator, model: str, behaviour: str) -> None:
    with behaving(emulator, PATH[model], f"{behaviour};chunk_interval=20"):
        answer = ernie.chat(model, stream=True)
    assert answer.status == 200
    assert answer.events[-1]["error"]["type"] == "upstream_stream_broken"


@pytest.mark.parametrize("model", ["old", "new"])
@pytest.mark.parametrize("stream", [False, True])
def test_tools(ernie: Gateway, emulator: Emulator, model: str, stream: bool) -> None:
    schema = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
    tool = {"type": "function", "function": {"name": "weather", "description": "天气", "parameters": schema}}
    with behaving(emulator, PATH[model], "ok_tools"):
        answer = ernie.chat(model, tools=[tool], stream=stream)
    if stream:
        calls = [piece for event in answer.events[:-1] for piece in event["data"].get("tool_calls", [])]
        finish = answer.events[-2]["data"]["finish_reason"]
        arguments = "".join(piece["function"].get("arguments", "") for piece in calls)
    else:
        calls, finish = answer.json["data"]["tool_calls"], answer.json["data"]["finish_reason"]
        arguments = calls[0]["function"]["arguments"]
    assert finish == "tool_calls"
    assert calls[0]["function"]["name"] == "weather"
    assert "city" in json.loads(arguments)


@pytest.mark.parametrize("code", V1_FAILURES)
@pytest.mark.parametrize("stream", [False, True])
def test_every_code_of_v1(ernie: Gateway, emulator: Emulator, code: str, stream: bool) -> None:
    kind = V1_CODES[int(code)]
    with behaving(emulator, "completions_pro", f"error={code}"):
        before = counters(emulator, "completions_pro")["attempts"]
        answer = ernie.chat("old", stream=stream)
        tries = counters(emulator, "completions_pro")["attempts"] - before
    assert (answer.status, answer.json["error"]["type"]) == (kind.status, kind.code)
    assert tries == (2 if code in ("100", "110", "111") else 1)
    assert "canary" not in answer.body.decode()


def test_the_table_of_v1_is_complete() -> None:
    assert {int(code) for code in V1_FAILURES} == set(V1_CODES)


@pytest.mark.parametrize("prefix", ["", "flat_"])
@pytest.mark.parametrize("name", V2_FAILURES)
def test_every_code_of_v2(ernie: Gateway, emulator: Emulator, prefix: str, name: str) -> None:
    with behaving(emulator, PATH["new"], f"error={prefix}{name}"):
        answer = ernie.chat("new")
    expected = V2_SPECIAL.get(name) or V2_CLASSES[V2_FAILURES[name].status]
    assert (answer.status, answer.json["error"]["type"]) == expected


def test_an_expired_token_under_200_parallel_calls_is_fetched_once(ernie: Gateway, emulator: Emulator) -> None:
    body = json.dumps({"model": "old", "parameters": {"prompt": "你好"}})

    async def call() -> int:
        reader, writer = await asyncio.open_connection("127.0.0.1", ernie.port)
        head = f"POST /api/v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {ADMIN_KEY}\r\n"
        writer.write(f"{head}Content-Length: {len(body.encode())}\r\nConnection: close\r\n\r\n{body}".encode())
        answer = await reader.read()
        writer.close()
        return int(answer.split(b" ", 2)[1])

    async def together() -> list[int]:
        return await asyncio.gather(*(call() for _ in range(200)))

    assert ernie.chat("old").status == 200
    with behaving(emulator, "completions_pro", "token_expired_after=0"):
        assert ernie.chat("old").status == BadCredential.status
    ernie.restore()
    fetches = emulator.counters.token_fetches
    before = counters(emulator, "completions_pro")
    statuses = asyncio.run(together())
    after = counters(emulator, "completions_pro")
    assert set(statuses) == {200}
    assert emulator.counters.token_fetches - fetches == 1
    assert after["completed"] - before["completed"] == 200
    assert after["attempts"] - before["attempts"] <= 400


def test_a_token_is_renewed_before_it_expires(emulator: Emulator, tmp_path: Path) -> None:
    with (
        behaving(emulator, "oauth", "token_expires_in=2"),
        serving(tmp_path, DOCUMENT, environ={"ERNIE": emulator.url}) as gateway,
    ):
        fetches = emulator.counters.token_fetches
        statuses = set()
        for _ in range(60):
            statuses.add(gateway.chat("old").status)
            time.sleep(0.06)
        renewed = emulator.counters.token_fetches - fetches
    assert statuses == {200}
    assert 2 <= renewed <= 5


@pytest.mark.parametrize(
    ("credential", "named"),
    [
        (f"{HEX}:{HEX}", "IAM"),
        ("ALTAKabcdef:secretsecret", "IAM"),
        ("app-abc123", "id of an application"),
        (f"{V2_KEY}:SK", "in the place of an AK"),
        ("bce-v3/ALTAK-only", "cut short"),
    ],
)
def test_a_wrong_kind_of_credential_is_named_when_checked_and_when_called(
    emulator: Emulator, tmp_path: Path, credential: str, named: str
) -> None:
    config = tmp_path / "wrong.yaml"
    config.write_text(DOCUMENT.replace("AKcanary1:SKcanary2", credential).replace("${ERNIE}", emulator.url), "utf-8")
    check = subprocess.run(
        [sys.executable, "-m", "dujiang", "check", str(config)], capture_output=True, text=True, check=False
    )
    assert check.returncode == 1
    said = " ".join((check.stdout + check.stderr).split())
    assert "providers.v1.credentials[0].secret" in said
    assert named in said
    assert credential not in said


@pytest.mark.parametrize(("credential", "what"), [("ak-unknown:SK", "API key"), ("AK:sk-wrong", "secret key")])
def test_a_pair_that_baidu_does_not_know_is_a_bad_credential(
    emulator: Emulator, tmp_path: Path, credential: str, what: str
) -> None:
    document = DOCUMENT.replace("AKcanary1:SKcanary2", credential)
    with serving(tmp_path, document, environ={"ERNIE": emulator.url}) as gateway:
        answer = gateway.chat("old")
    assert (answer.status, answer.json["error"]["type"]) == (502, "upstream_bad_credential")
    assert what in answer.json["message"]


def test_what_v1_cannot_say_is_the_callers_to_change(ernie: Gateway) -> None:
    image = {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "https://x/y.png"}}]}
    answer = ernie.ask("/v1/chat/completions", {"model": "old", "messages": [image]})
    assert answer.status == 400
    assert answer.json["error"]["param"] == "messages[0].content[0]"


def test_odd_conversations_are_accepted(ernie: Gateway) -> None:
    messages = [
        {"role": "assistant", "content": "您好！"},
        {"role": "user", "content": "一"},
        {"role": "user", "content": "二"},
        {"role": "system", "content": "简短。"},
        {"role": "assistant", "content": "三"},
    ]
    assert ernie.ask("/v1/chat/completions", {"model": "old", "messages": messages}).status == 200
