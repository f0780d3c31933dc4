"""The product's main job on a fresh machine: `dujiang serve` without a document, and a real model answers."""

import base64
import json
import os
import re
import struct
import sys
import threading
import time
import zlib
from collections import Counter
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import psutil
import pytest
from gateway import ADMIN_KEY, Answer, Gateway, eventually, serving

from dujiang.providers.embedded.cache import cache_dir, explain_missing, locate

CHINESE = re.compile(r"[\u4e00-\u9fff]")
NATIVE = "/api/v1/chat/completions"


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """A server with the embedded model, on a machine whose environment names a proxy."""
    if locate("default", cache_dir(os.environ)) is None:
        pytest.skip(explain_missing("default"))
    proxy = {"HTTP_PROXY": "http://127.0.0.1:1", "http_proxy": "http://127.0.0.1:1", "NO_PROXY": "", "no_proxy": ""}
    with serving(tmp_path_factory.mktemp("local"), None, environ=proxy) as gateway:
        yield gateway


def chat(gateway: Gateway, **parameters: Any) -> Answer:
    body = {"model": "local", "parameters": {"prompt": "你好", "max_tokens": 8, **parameters}}
    if "messages" in parameters:
        del body["parameters"]["prompt"]
    return gateway.ask(NATIVE, body, timeout_s=120)


def openai_chat(gateway: Gateway, **fields: Any) -> Answer:
    body = {"model": "local", "messages": [{"role": "user", "content": "你好"}], "max_tokens": 8, **fields}
    return gateway.ask("/v1/chat/completions", body, timeout_s=120)


def child_of(gateway: Gateway) -> psutil.Process:
    """The process that runs the model."""
    parent = psutil.Process(gateway.process.pid)
    return next(
        each for each in parent.children(recursive=True) if "dujiang.providers.embedded.child" in each.cmdline()
    )


def test_the_requirements_own_request_is_answered_by_a_real_model(local: Gateway) -> None:
    """Asked at once: a call waits for a model that is still loading."""
    body = {
        "model": "local",
        "parameters": {"prompt": "你好，世界", "temperature": 0.7, "max_tokens": 40, "prompt_id": "scene_1"},
        "user_info": {"user_id": "123456", "user_role": "admin"},
        "request_id": "uuid-1234567890",
    }
    answer = local.ask(NATIVE, body, timeout_s=120)
    assert answer.status == 200
    envelope = answer.json
    assert {"code", "message", "data", "request_id", "timestamp"} <= set(envelope)
    assert (envelope["code"], envelope["message"], envelope["request_id"]) == (200, "success", "uuid-1234567890")
    data = envelope["data"]
    assert len(CHINESE.findall(data["result"])) >= 2
    assert data["model_info"]["name"] == "local"
    assert data["model_info"]["provider"] == "local"
    assert isinstance(data["model_info"]["version"], str)
    usage = data["usage"]
    assert usage["prompt_tokens"] > 20
    assert 1 <= usage["completion_tokens"] <= 40
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]


def test_counts_are_the_models_own(local: Gateway) -> None:
    usage = chat(local, max_tokens=5).json["data"]["usage"]
    more = chat(local, max_tokens=5, prompt="你好" * 20).json["data"]["usage"]
    assert usage["completion_tokens"] <= 5
    assert more["prompt_tokens"] > usage["prompt_tokens"] + 10


def test_what_limits_an_answer_is_told(local: Gateway) -> None:
    assert chat(local, prompt="从一数到一百", max_tokens=3).json["data"]["finish_reason"] == "length"


def test_a_stream_comes_as_it_is_made(local: Gateway) -> None:
    arrived: list[float] = []
    deltas: list[str] = []
    last: Any = None
    connection = HTTPConnection("127.0.0.1", local.port, timeout=120)
    body = json.dumps(
        {
            "model": "local",
            "parameters": {"prompt": "介绍一下四川", "prompt_id": "scene_1", "max_tokens": 30, "stream": True},
        }
    )
    connection.request("POST", NATIVE, body, {"Authorization": f"Bearer {ADMIN_KEY}"})
    with connection.getresponse() as response:
        assert response.status == 200
        for line in response:
            if line.startswith(b"data: {"):
                last = json.loads(line[6:])
                if "delta" in last["data"]:
                    arrived.append(time.monotonic())
                    deltas.append(last["data"]["delta"])
            end = line.strip() or b""
            if end == b"data: [DONE]":
                break
        else:
            pytest.fail("the stream did not end properly")
    connection.close()
    assert len(deltas) > 5
    assert CHINESE.search("".join(deltas))
    assert arrived[-1] > arrived[0]
    assert last["data"]["usage"]["completion_tokens"] <= 30
    assert last["data"]["model_info"]["provider"] == "local"


def test_openais_format_too(local: Gateway) -> None:
    answer = openai_chat(local).json
    assert answer["choices"][0]["message"]["content"]
    assert answer["dujiang"]["provider"] == "local"
    assert answer["usage"]["prompt_tokens"] > 0
    *events, done = openai_chat(local, stream=True, stream_options={"include_usage": True}).events
    assert done == "[DONE]"
    assert events[-1]["usage"]["completion_tokens"] <= 8


TOOL = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather of a city",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}


@pytest.mark.parametrize("stream", [False, True])
def test_a_required_tool_is_called(local: Gateway, stream: bool) -> None:
    asked = {"messages": [{"role": "user", "content": "北京今天天气怎么样？"}], "tools": [TOOL], "max_tokens": 60}
    answer = openai_chat(local, tool_choice="required", stream=stream, **asked)
    assert answer.status == 200
    if stream:
        choices = [event["choices"][0] for event in answer.events[:-1] if event["choices"]]
        [call] = [piece for choice in choices for piece in choice["delta"].get("tool_calls", [])]
        assert choices[-1]["finish_reason"] == "tool_calls"
    else:
        choice = answer.json["choices"][0]
        [call] = choice["message"]["tool_calls"]
        assert choice["message"]["content"] is None
        assert choice["finish_reason"] == "tool_calls"
    assert call["function"]["name"] == "get_weather"
    assert isinstance(json.loads(call["function"]["arguments"])["city"], str)


@pytest.mark.parametrize("choice", [{"type": "function", "function": "get_weather"}, {"type": "function"}])
def test_a_choice_of_tool_that_makes_no_sense_is_no_bug_of_ours(local: Gateway, choice: Any) -> None:
    assert openai_chat(local, tools=[TOOL], tool_choice=choice).status in (200, 400)


def test_structured_output_is_json_of_that_shape(local: Gateway) -> None:
    schema = {
        "type": "object",
        "properties": {
            "city": {"type": "string", "maxLength": 10},
            "days": {"type": "integer", "minimum": 1, "maximum": 9},
        },
        "required": ["city", "days"],
        "additionalProperties": False,
    }
    form = {"type": "json_schema", "json_schema": {"name": "trip", "strict": True, "schema": schema}}
    answer = chat(local, prompt="去成都玩三天", response_format=form, max_tokens=60).json["data"]
    found = json.loads(answer["result"])
    assert set(found) == {"city", "days"}
    assert isinstance(found["days"], int)


@pytest.mark.parametrize("stream", [False, True])
def test_too_long_a_prompt_is_the_callers_mistake(local: Gateway, stream: bool) -> None:
    answer = openai_chat(local, messages=[{"role": "user", "content": "river " * 6000}], stream=stream)
    assert answer.status == 400
    error = answer.json["error"]
    assert error["code"] == "context_length_exceeded"
    assert "maximum context length" in error["message"]


def a_picture() -> str:
    """A PNG of one pixel."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    png = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 1, 1, 8, 0, 0, 0, 0))
    png += chunk(b"IDAT", zlib.compress(b"\0\0")) + chunk(b"IEND", b"")
    return "data:image/png;base64," + base64.b64encode(png).decode()


def test_a_picture_is_refused_by_a_model_that_cannot_see(local: Gateway) -> None:
    parts = [{"type": "text", "text": "What is this?"}, {"type": "image_url", "image_url": {"url": a_picture()}}]
    answer = openai_chat(local, messages=[{"role": "user", "content": parts}])
    assert answer.status == 400
    assert answer.json["error"]["type"] == "invalid_request_error"


def test_thirty_at_once_are_answered_or_told_to_come_later(local: Gateway) -> None:
    answers: list[Answer] = []

    def ask() -> None:
        answers.append(chat(local, max_tokens=2))

    callers = [threading.Thread(target=ask) for _ in range(30)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    counts = Counter(answer.status for answer in answers)
    assert set(counts) == {200, 429}
    assert counts[200] >= 10
    for answer in answers:
        if answer.status == 429:
            assert answer.json["error"]["reason"] == "queue"
            assert int(answer.headers["retry-after"]) >= 1
    assert chat(local, max_tokens=2).status == 200


LONG = {
    "type": "json_schema",
    "json_schema": {"name": "count", "schema": {"type": "array", "minItems": 300, "items": {"type": "integer"}}},
}
"""A grammar that lets no answer end early."""


@pytest.mark.parametrize("stream", [False, True])
def test_a_model_that_dies_mid_answer_costs_that_answer_and_no_more(local: Gateway, stream: bool) -> None:
    assert chat(local).status == 200
    gateway_worker = local.worker.pid
    child = child_of(local)
    found: list[Answer] = []
    asked = {"prompt": "从一数到一千", "max_tokens": 900, "response_format": LONG, "stream": stream}
    caller = threading.Thread(target=lambda: found.append(chat(local, **asked)))
    caller.start()
    eventually(lambda: local.metric("dujiang_calls_in_flight") == 1)
    time.sleep(1.5)  # by now no stale connection any more, on which the call would be sent again
    child.kill()
    caller.join(60)
    [answer] = found
    assert answer.status == 200
    if stream and answer.events[-1] != "[DONE]":
        last = answer.events[-1]
        assert last["code"] >= 500
        assert last["error"]["type"] == "upstream_stream_broken"
    else:  # nothing had been said yet: the next child was asked
        done = answer.events[-2]["data"] if stream else answer.json["data"]
        assert done["attempts"] >= 2
    assert chat(local).status == 200
    assert child_of(local).pid != child.pid
    assert local.worker.pid == gateway_worker
    eventually(lambda: local.ask("/api/v1/health").json["status"] == "ok")


def test_a_caller_who_leaves_frees_the_model(local: Gateway) -> None:
    """More callers than the model has slots begin long answers and leave; the next is answered at once."""
    body = json.dumps(
        {"model": "local", "parameters": {"prompt": "写一篇很长的文章", "max_tokens": 900, "stream": True}}
    ).encode()
    head = (
        f"POST {NATIVE} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {ADMIN_KEY}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    for _ in range(3):
        with local.connect() as peer:
            peer.sendall(head.encode() + body)
            assert peer.recv(100).startswith(b"HTTP/1.1 200 ")
    assert chat(local, max_tokens=2).status == 200
    eventually(lambda: local.metric("dujiang_calls_in_flight") == 0)


def test_nothing_of_this_was_a_bug(local: Gateway) -> None:
    assert "Traceback" not in (local.data_dir / "log").read_text("utf-8")


def test_without_a_model_the_server_says_what_to_do(tmp_path: Path) -> None:
    with serving(tmp_path, None, environ={"DUJIANG_CACHE_DIR": str(tmp_path / "empty")}) as gateway:
        assert any("dujiang models pull" in line for line in gateway.output)
        for answer in (chat(gateway), chat(gateway, stream=True), openai_chat(gateway)):
            assert answer.status == 503
            assert "dujiang models pull" in answer.body.decode()
        assert chat(gateway).json["error"]["type"] == "misconfigured"
        assert gateway.ask("/health/ready").status == 200
        assert not [each for each in gateway.process.children(recursive=True) if "embedded" in " ".join(each.cmdline())]


def test_how_soon_a_second_start_serves(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Printed, not judged: a shared machine is no stop-watch."""
    seconds: list[float] = []
    for _ in range(2):
        began = time.monotonic()
        with serving(tmp_path, None, environ={"DUJIANG_CACHE_DIR": str(tmp_path / "empty")}) as gateway:
            assert gateway.ask("/health/ready").status == 200
            seconds.append(time.monotonic() - began)
    with capsys.disabled():
        sys.stdout.write(f" [`dujiang serve` was ready after {seconds[0]:.1f} s, then after {seconds[1]:.1f} s] ")
