"""The emulator as callers meet it: OpenAI's own SDK, plain HTTP, and raw sockets for what HTTP libraries hide."""

import http.client
import json
import signal
import socket
import subprocess
import sys
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import closing
from urllib.parse import urlsplit

import openai
import pytest
from pydantic import BaseModel

from dujiang.emulator.background import running
from dujiang.emulator.openai.failures import FAILURES
from dujiang.emulator.server import Emulator

MESSAGES = [{"role": "user", "content": "你好，世界"}]
BROKEN_JSON = "Unterminated|Expecting|utf-8"


@pytest.fixture(scope="module")
def shared() -> Iterator[Emulator]:
    with running({"scripted": "status=418", "slow": "latency=60000"}) as emulator:
        yield emulator


@pytest.fixture
def emulator(shared: Emulator) -> Emulator:
    request(shared, "DELETE", "/_emulator/counters")
    return shared


@pytest.fixture(scope="module")
def client(shared: Emulator) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(api_key="sk-test", base_url=f"{shared.url}/v1", max_retries=0, timeout=20) as client:
        yield client


def request(emulator: Emulator, method: str, path: str, body: object = None, **headers: str):
    """One plain request; gives status, headers in lower case and the body."""
    content = body if isinstance(body, bytes | None) else json.dumps(body).encode()
    with closing(http.client.HTTPConnection(urlsplit(emulator.url).netloc, timeout=20)) as connection:
        connection.request(method, path, content, {"Authorization": "Bearer sk-test", **headers})
        with connection.getresponse() as answer:
            return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()


def chat(emulator: Emulator, script: str, **fields: object):
    return request(
        emulator,
        "POST",
        "/v1/chat/completions",
        {"model": "m", "messages": MESSAGES, **fields},
        **{"X-Emulate": script},
    )


def message(fields: dict[str, object], script: str | None = None, *, connection: str = "close") -> bytes:
    body = json.dumps({"model": "m", "messages": MESSAGES, **fields}).encode()
    extra = f"X-Emulate: {script}\r\n" if script else ""
    head = (
        f"POST /v1/chat/completions HTTP/1.1\r\nHost: emulator\r\nAuthorization: Bearer sk-raw\r\n{extra}"
        f"Connection: {connection}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def connect(emulator: Emulator) -> socket.socket:
    where = urlsplit(emulator.url)
    return socket.create_connection((where.hostname, where.port), timeout=20)


def raw(emulator: Emulator, script: str, **fields: object) -> tuple[bytes, bool]:
    """All bytes up to the end of the connection, and whether it ended with RST."""
    with connect(emulator) as peer:
        peer.sendall(message(fields, script))
        found = b""
        try:
            while part := peer.recv(1 << 20):
                found += part
        except ConnectionResetError:
            return found, True
        return found, False


def payloads(body: bytes) -> list[str]:
    return [line[5:].strip() for line in body.decode().splitlines() if line.startswith("data:")]


def documents(body: bytes) -> list[dict]:
    return [json.loads(payload) for payload in payloads(body) if payload != "[DONE]"]


def said(chunks: list[dict]) -> str:
    return "".join(choice["delta"].get("content") or "" for chunk in chunks for choice in chunk["choices"])


def until(is_true: Callable[[], bool], seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not is_true():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.005)


# The official SDK


def test_sdk_whole_answer(client):
    raw_answer = client.chat.completions.with_raw_response.create(model="gpt-4-0613", messages=MESSAGES)
    answer = raw_answer.parse()
    assert answer.id.startswith("chatcmpl-")
    assert answer.object == "chat.completion"
    assert answer.model == "gpt-4-0613"
    assert answer.choices[0].finish_reason == "stop"
    content = answer.choices[0].message.content
    assert content.startswith("[emulated gpt-4-0613] ")
    assert "模拟" in content
    assert answer.usage.prompt_tokens + answer.usage.completion_tokens == answer.usage.total_tokens
    assert raw_answer.headers["x-request-id"].startswith("req_")
    assert raw_answer.headers["x-ratelimit-limit-requests"] == "10000"
    again = client.chat.completions.create(model="gpt-4-0613", messages=MESSAGES)
    assert (again.choices, again.usage) == (answer.choices, answer.usage)
    assert again.id != answer.id


def test_sdk_stream_says_the_same(client):
    whole = client.chat.completions.create(model="m", messages=MESSAGES)
    with client.chat.completions.create(
        model="m", messages=MESSAGES, stream=True, stream_options={"include_usage": True}
    ) as stream:
        chunks = list(stream)
    assert chunks[0].choices[0].delta.role == "assistant"
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks[:-1]) == whole.choices[0].message.content
    assert chunks[-2].choices[0].finish_reason == "stop"
    assert chunks[-1].choices == []
    assert chunks[-1].usage == whole.usage
    assert {chunk.id for chunk in chunks} == {chunks[0].id}


def test_sdk_tools(client):
    schema = {
        "type": "object",
        "properties": {"city": {"type": "string"}, "unit": {"enum": ["c", "f"]}},
        "required": ["city", "unit"],
    }
    tools = [{"type": "function", "function": {"name": "get_weather", "parameters": schema}}]
    for script in ("ok_tools", "ok_tools_split"):
        extra = {"X-Emulate": script}
        whole = client.chat.completions.create(model="m", messages=MESSAGES, tools=tools, extra_headers=extra)
        with client.chat.completions.stream(model="m", messages=MESSAGES, tools=tools, extra_headers=extra) as stream:
            streamed = stream.get_final_completion()
        for answer in (whole, streamed):
            call = answer.choices[0].message.tool_calls[0]
            assert answer.choices[0].finish_reason == "tool_calls"
            assert answer.choices[0].message.content is None
            assert call.function.name == "get_weather"
            assert json.loads(call.function.arguments) == {"city": "模拟 emulated", "unit": "c"}
    turns = [*MESSAGES, whole.choices[0].message.to_dict(), {"role": "tool", "tool_call_id": call.id, "content": "20"}]
    turns[1] = {key: value for key, value in turns[1].items() if key in ("role", "content", "tool_calls")}
    turns[2]["tool_call_id"] = turns[1]["tool_calls"][0]["id"]
    final = client.chat.completions.create(
        model="m", messages=turns, tools=tools, extra_headers={"X-Emulate": "ok_tools"}
    )
    assert final.choices[0].finish_reason == "stop"


def test_sdk_forced_tool(client):
    tools = [{"type": "function", "function": {"name": name}} for name in ("first", "second")]
    forced = {"type": "function", "function": {"name": "second"}}
    answer = client.chat.completions.create(model="m", messages=MESSAGES, tools=tools, tool_choice=forced)
    assert answer.choices[0].message.tool_calls[0].function.name == "second"
    answer = client.chat.completions.create(model="m", messages=MESSAGES, tools=tools, tool_choice="required")
    assert answer.choices[0].message.tool_calls[0].function.name == "first"
    answer = client.chat.completions.create(model="m", messages=MESSAGES, tools=tools)
    assert answer.choices[0].message.tool_calls is None


class Step(BaseModel):
    title: str
    minutes: int
    after: list["Step"]


class Plan(BaseModel):
    steps: list[Step]
    note: str | None


def test_sdk_parse(client):
    answer = client.chat.completions.parse(model="m", messages=MESSAGES, response_format=Plan)
    assert isinstance(answer.choices[0].message.parsed, Plan)
    with client.chat.completions.stream(model="m", messages=MESSAGES, response_format=Plan) as stream:
        assert stream.get_final_completion().choices[0].message.parsed == answer.choices[0].message.parsed
    answer = client.chat.completions.create(model="m", messages=MESSAGES, response_format={"type": "json_object"})
    assert json.loads(answer.choices[0].message.content)["emulated"] is True


@pytest.mark.parametrize(
    ("script", "error", "status"),
    [
        ("error=context_length_exceeded", openai.BadRequestError, 400),
        ("error=invalid_api_key", openai.AuthenticationError, 401),
        ("error=model_permission", openai.PermissionDeniedError, 403),
        ("error=model_not_found", openai.NotFoundError, 404),
        ("error=conflict", openai.ConflictError, 409),
        ("status=422", openai.UnprocessableEntityError, 422),
        ("retry_after=2", openai.RateLimitError, 429),
        ("error=429", openai.RateLimitError, 429),
        ("error=insufficient_quota", openai.RateLimitError, 429),
        ("error=server_error;status=599", openai.InternalServerError, 599),
        ("error=ollama_503", openai.InternalServerError, 503),
        ("html_502", openai.InternalServerError, 502),
        ("reset_before_headers", openai.APIConnectionError, None),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_sdk_error_classes(client, script, error, status, stream):
    with pytest.raises(error) as caught:
        client.chat.completions.create(model="m", messages=MESSAGES, stream=stream, extra_headers={"X-Emulate": script})
    assert getattr(caught.value, "status_code", None) == status


def test_sdk_retries_are_counted(emulator, client):
    patient = client.with_options(max_retries=2)
    script = {"X-Emulate": "fail_first=2;status=429;retry_after_ms=1"}
    patient.chat.completions.create(model="retried", messages=MESSAGES, extra_headers=script)
    tally = emulator.counters.model("retried")
    assert (tally.attempts, tally.completed, tally.max_in_flight) == (3, 1, 1)


def test_sdk_error_in_stream(client):
    script = {"X-Emulate": "error_in_stream;error=server_is_overloaded"}
    with pytest.raises(openai.APIError, match="overloaded"):
        list(client.chat.completions.create(model="m", messages=MESSAGES, stream=True, extra_headers=script))


def test_sdk_lists_models(client):
    assert {model.id for model in client.models.list()} >= {"gpt-4-0613", "scripted"}
    assert client.models.retrieve("gpt-4-0613").owned_by == "emulated"
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("no/such")


# Answers and errors


def test_every_error_has_its_documented_form(emulator):
    for name, failure in FAILURES.items():
        status, headers, body = chat(emulator, f"error={name};retry_after=Wed, 21 Oct 2026 07:28:00 GMT")
        error = json.loads(body)
        assert status == failure.status, name
        assert headers["x-request-id"].startswith("req_")
        assert headers["retry-after"] == "Wed, 21 Oct 2026 07:28:00 GMT"
        if failure.shape == "text":
            assert isinstance(error["error"], str)
        else:
            fields = error if failure.shape == "flat" else error["error"]
            assert {"message", "type", "param", "code"} <= set(fields)
            assert (fields["type"], fields["code"]) == (failure.type, failure.code)


def test_used_up_limits_show_in_headers(emulator):
    _, headers, _ = chat(emulator, "error=rate_limit_exceeded")
    assert (headers["x-ratelimit-remaining-requests"], headers["x-ratelimit-reset-requests"]) == ("0", "1s")
    assert "retry-after" not in headers
    _, headers, _ = chat(emulator, "error=tokens_per_min")
    assert headers["x-ratelimit-remaining-tokens"] == "0"
    limits = [chat(emulator, "rate=1") for _ in range(2)]
    assert [(status, headers["x-ratelimit-remaining-requests"]) for status, headers, _ in limits] == [
        (200, "0"),
        (429, "0"),
    ]
    assert limits[1][1]["x-ratelimit-reset-requests"] in ("1m0s", "59.999s")
    assert 1 <= int(limits[1][1]["retry-after"]) <= 60


def test_usage_in_every_disguise(emulator):
    asked = {"stream": True, "stream_options": {"include_usage": True}}

    def usages(script, **fields):
        return [chunk.get("usage", "absent") for chunk in documents(chat(emulator, script, **fields)[2])]

    *earlier, last = usages("tokens=120/48", **asked)
    assert set(map(str, earlier)) == {"None"}
    assert (last["prompt_tokens"], last["completion_tokens"], last["total_tokens"]) == (120, 48, 168)
    assert set(usages("ok", stream=True)) == {"absent"}
    assert set(usages("usage_missing", **asked)) == {"absent"}
    assert "usage" not in json.loads(chat(emulator, "usage_missing")[2])
    assert usages("usage_zero", **asked)[-1]["total_tokens"] == 0
    assert usages("usage_huge", **asked)[-1]["total_tokens"] == 2**63
    wrong = json.loads(chat(emulator, "usage_wrong")[2])["usage"]
    assert wrong["total_tokens"] != wrong["prompt_tokens"] + wrong["completion_tokens"]
    assert all(usage["total_tokens"] for usage in usages("usage_every_chunk", stream=True))
    riding = documents(chat(emulator, "usage_last_content_chunk", **asked)[2])[-1]
    assert riding["choices"][0]["finish_reason"] == "stop"
    assert riding["usage"]["total_tokens"] > 0


def test_limits_and_choices(emulator):
    answer = json.loads(chat(emulator, "ok", max_tokens=3, n=2)[2])
    assert [choice["finish_reason"] for choice in answer["choices"]] == ["length", "length"]
    assert answer["usage"]["completion_tokens"] == 6
    chunks = documents(chat(emulator, "chunks=100", stream=True)[2])
    assert sum(bool(chunk["choices"][0]["delta"].get("content")) for chunk in chunks) == 100
    assert json.loads(chat(emulator, "served=gpt-4-0613")[2])["model"] == "gpt-4-0613"
    assert json.loads(chat(emulator, "finish=sensitive")[2])["choices"][0]["finish_reason"] == "sensitive"
    empty = documents(chat(emulator, "empty_deltas;chunks=2", stream=True)[2])
    assert [chunk["choices"][0]["delta"].get("content") == "" for chunk in empty] == [
        True,
        False,
        True,
        False,
        True,
        False,
    ]
    thought = json.loads(chat(emulator, "ok_reasoning")[2])
    assert thought["choices"][0]["message"]["reasoning_content"]
    assert thought["usage"]["completion_tokens_details"]["reasoning_tokens"] > 0
    deltas = [chunk["choices"][0]["delta"] for chunk in documents(chat(emulator, "ok_reasoning", stream=True)[2])]
    assert "".join(delta.get("reasoning_content", "") for delta in deltas)


@pytest.mark.parametrize(
    "script",
    [
        "ok_crlf",
        "ok_no_space_after_colon",
        "ok_comments;ttft=5",
        "ok_blank_lines_then_json;ttft=5",
        "ok_utf8_split",
        "drip_1_byte",
        "slow_headers;chunk_interval=1",
        "ttft=1;chunk_interval=1;latency=1",
        "ok_crlf;ok_utf8_split;ok_comments;ttft=1",
    ],
)
def test_odd_forms_say_the_same(emulator, script):
    whole = json.loads(chat(emulator, "ok")[2])["choices"][0]["message"]["content"]
    assert json.loads(chat(emulator, script)[2])["choices"][0]["message"]["content"] == whole
    body = chat(emulator, script, stream=True)[2]
    assert said(documents(body)) == whole
    assert payloads(body)[-1] == "[DONE]"
    assert emulator.counters.model("m").completed == 3


def test_odd_forms_are_odd(emulator):
    assert b"\r\n\r\ndata: " in chat(emulator, "ok_crlf", stream=True)[2]
    assert b"data:{" in chat(emulator, "ok_no_space_after_colon", stream=True)[2]
    assert chat(emulator, "ok_comments;ttft=5", stream=True)[2].startswith(b": keep-alive\n\n")
    assert chat(emulator, "ok_blank_lines_then_json;ttft=5")[2].startswith(b"\n{")
    assert payloads(chat(emulator, "ok_no_done", stream=True)[2])[-1] != "[DONE]"
    _, headers, body = chat(emulator, "json_on_stream", stream=True)
    assert headers["content-type"] == "application/json"
    assert json.loads(body)["object"] == "chat.completion"
    found, _ = raw(emulator, "ok_utf8_split", stream=True)
    assert "模".encode() not in found


# Faults


def test_cut_streams_lack_their_end(emulator):
    whole, _ = raw(emulator, "ok", stream=True)
    assert whole.endswith(b"0\r\n\r\n")
    for script, chunks in (("cut_after=0", 1), ("cut_after=2", 3), ("half_close", 2)):
        found, is_reset = raw(emulator, script, stream=True)
        assert found.count(b"data: ") == chunks
        assert not found.endswith(b"0\r\n\r\n")
        assert not is_reset
    for script in ("cut_mid_json", "cut_mid_utf8"):
        found, _ = raw(emulator, script, stream=True)
        with pytest.raises(ValueError, match=BROKEN_JSON):
            documents(found.partition(b"\r\n\r\n")[2])
    assert emulator.counters.model("m").completed == 1
    assert emulator.counters.model("m").open_streams == 0


def test_cut_whole_answers_lack_their_end(emulator):
    for script in ("cut_after=1", "cut_mid_json", "cut_mid_utf8", "half_close"):
        with pytest.raises(http.client.IncompleteRead):
            chat(emulator, script)
    assert emulator.counters.model("m").completed == 0


def test_clean_end_without_finish(emulator):
    found, is_reset = raw(emulator, "fin_without_done", stream=True)
    head, _, body = found.partition(b"\r\n\r\n")
    assert b"Transfer-Encoding" not in head
    assert b"Connection: close" in head
    assert not is_reset
    assert said(documents(body))
    assert all(chunk["choices"][0]["finish_reason"] is None for chunk in documents(body))
    with pytest.raises(ValueError, match=BROKEN_JSON):
        json.loads(chat(emulator, "fin_without_done")[2])


def test_resets(emulator):
    assert raw(emulator, "reset_before_headers") == (b"", True)
    found, is_reset = raw(emulator, "reset_after_headers", stream=True)
    assert is_reset
    assert found.startswith(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream")
    assert found.endswith(b"\r\n\r\n")


def test_strange_answers(emulator):
    found, _ = raw(emulator, "garbage")
    assert not found.startswith(b"HTTP/")
    assert chat(emulator, "empty_200")[::2] == (200, b"")
    assert chat(emulator, "json_string_401")[::2] == (401, b'"Invalid token"')
    status, headers, body = chat(emulator, "html_502")
    assert (status, headers["content-type"]) == (502, "text/html")
    assert body.startswith(b"<html>")
    status, headers, _ = chat(emulator, "redirect_to_other_host")
    assert status == 307
    assert headers["location"] == f"http://localhost:{urlsplit(emulator.url).port}/v1/chat/completions"
    with pytest.raises(ValueError, match=BROKEN_JSON):
        json.loads(chat(emulator, "bad_content_length")[2])
    assert emulator.counters.model("m").completed == 0


def test_absurd_sizes(emulator):
    _, headers, body = chat(emulator, "gzip_bomb")
    assert headers["content-encoding"] == "gzip"
    assert len(body) < 1_000_000
    unpacked, size = zlib.decompressobj(16 + zlib.MAX_WBITS), 0
    while body:
        size += len(unpacked.decompress(body, 2**22))
        body = unpacked.unconsumed_tail
    assert (size, unpacked.eof) == (256 * 2**20, True)
    assert max(map(len, chat(emulator, "oversize_line", stream=True)[2].splitlines())) > 2**24
    for stream in (False, True):
        deep = chat(emulator, "deep_json", stream=stream)[2]
        assert b"[" * 100_000 + b"]" * 100_000 in deep


def test_errors_inside_a_stream(emulator):
    for script, last in (("error_in_stream", "error"), ("error_in_stream_then_done;error=vllm_flat", "[DONE]")):
        status, _, body = chat(emulator, script, stream=True)
        assert status == 200
        assert last in payloads(body)[-1]
    assert chat(emulator, "error_in_stream;error=rate_limit_exceeded")[0] == 429


# Requests


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"model": None}, "model"),
        ({"model": ""}, "model"),
        ({"messages": []}, "messages"),
        ({"messages": "hello"}, "messages"),
        ({"messages": [{"role": "robot", "content": "x"}]}, "messages[0].role"),
        ({"messages": [{"role": "user"}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": None}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": "x", "name": None}]}, "messages[0].name"),
        ({"messages": [{"role": "user", "content": [{"type": "text"}]}]}, "messages[0].content[0].text"),
        ({"messages": [{"role": "tool", "content": "x", "tool_call_id": "c"}]}, "messages[0].role"),
        ({"temperature": None}, "temperature"),
        ({"temperature": 2.5}, "temperature"),
        ({"temperature": "warm"}, "temperature"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"n": 129}, "n"),
        ({"stop": ["a", "b", "c", "d", "e"]}, "stop"),
        ({"stream": "yes"}, "stream"),
        ({"stream_options": {"include_usage": True}}, "stream_options"),
        ({"tool_choice": "auto"}, "tool_choice"),
        ({"tools": []}, "tools"),
        ({"tools": [{"type": "function", "function": {"name": "a b"}}]}, "tools[0].function.name"),
        ({"response_format": {"type": "json_schema"}}, "response_format.json_schema"),
        ({"prompt_id": "scene_1"}, "prompt_id"),
        ({"api_key": "sk-x"}, "api_key"),
    ],
)
def test_invalid_requests_are_refused(emulator, fields, param):
    status, _, body = chat(emulator, "ok", **fields)
    error = json.loads(body)["error"]
    assert (status, error["type"]) == (400, "invalid_request_error"), error
    assert error["param"] == param


def test_unanswered_tool_calls_are_refused(emulator):
    call = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    turns = [*MESSAGES, {"role": "assistant", "content": None, "tool_calls": [call]}, *MESSAGES]
    status, _, body = chat(emulator, "ok", messages=turns)
    assert status == 400
    assert "c1" in json.loads(body)["error"]["message"]


@pytest.mark.parametrize("body", [b"", b"{", b"\xff", b'{"model": NaN}', b"[" * 100_000, b"[]", b"null"])
def test_unreadable_bodies_are_refused(emulator, body):
    assert request(emulator, "POST", "/v1/chat/completions", body)[0] == 400


def test_keys(emulator):
    body = {"model": "m", "messages": MESSAGES}
    for header in ("", "Bearer ", "Basic abc", "Bearer sk-invalid"):
        status, _, answer = request(emulator, "POST", "/v1/chat/completions", body, Authorization=header)
        assert (status, json.loads(answer)["error"]["code"]) == (401, "invalid_api_key")
    assert emulator.counters.model("m").attempts == 4
    assert set(emulator.counters.keys) == {"sk-invalid"}
    assert request(emulator, "GET", "/v1/models", Authorization="")[0] == 401


def test_no_key_at_all_is_served_as_a_server_of_ones_own_would(emulator):
    connection = http.client.HTTPConnection(*emulator.url.removeprefix("http://").split(":"))
    content = json.dumps({"model": "m", "messages": MESSAGES})
    connection.request("POST", "/v1/chat/completions", content, {"Content-Type": "application/json"})
    with connection.getresponse() as response:
        assert response.status == 200
    connection.close()


def test_paths(emulator):
    assert request(emulator, "GET", "/health")[::2] == (200, b"")
    assert request(emulator, "GET", "/v1/chat/completions")[0] == 405
    assert request(emulator, "POST", "/v1/embeddings", {})[0] == 404
    assert request(emulator, "GET", "/else")[0] == 404


# Scripts and counters


def test_where_a_behaviour_comes_from(emulator):
    def status(model: str, **headers: str) -> int:
        body = {"model": model, "messages": MESSAGES}
        return request(emulator, "POST", "/v1/chat/completions", body, **headers)[0]

    assert status("status=501") == 501
    assert status("scripted") == 418
    assert request(emulator, "POST", "/_emulator/behaviour", {"model": "scripted", "behaviour": "status=419"})[0] == 200
    assert status("scripted") == 419
    assert status("scripted", **{"X-Emulate": "ok"}) == 200
    request(emulator, "POST", "/_emulator/behaviour", {"model": "scripted", "behaviour": None})
    assert status("scripted") == 418


def test_bad_behaviours_are_refused(emulator):
    status, _, body = chat(emulator, "nonsense")
    assert status == 400
    assert "cut_after=N" in json.loads(body)["error"]["message"]
    for setting in ({"model": "m", "behaviour": "nonsense"}, {"model": "m"}, {"model": 5, "behaviour": "ok"}, []):
        status, _, body = request(emulator, "POST", "/_emulator/behaviour", setting)
        assert status == 400
        assert "latency=MS" in json.loads(body)["error"]["known"]


def test_counters_over_http(emulator):
    chat(emulator, "ok")
    with connect(emulator) as peer:
        peer.sendall(message({"model": "held", "stream": True}, "chunk_interval=60000"))
        peer.recv(65536)
        until(lambda: emulator.counters.model("held").open_streams == 1)
        counted = json.loads(request(emulator, "GET", "/_emulator/counters")[2])
    names = ("attempts", "completed", "disconnected", "open_streams", "in_flight", "max_in_flight")
    assert counted["models"]["m"] == dict(zip(names, (1, 1, 0, 0, 0, 1), strict=True))
    assert counted["models"]["held"] == dict(zip(names, (1, 0, 0, 1, 1, 1), strict=True))
    assert set(counted["keys"]) == {"sk-test", "sk-raw"}
    assert counted["token_fetches"] == 0
    until(lambda: emulator.counters.model("held").in_flight == 0)
    assert emulator.counters.model("held").disconnected == 1
    assert json.loads(request(emulator, "DELETE", "/_emulator/counters")[2])["models"] == {}


@pytest.mark.parametrize(
    ("script", "stream"),
    [("hang", False), ("latency=60000", False), ("ttft=60000", True), ("ttft=60000", False), ("half_close", True)],
)
def test_leaving_is_noticed_at_once(emulator, script, stream):
    with connect(emulator) as peer:
        peer.sendall(message({"stream": stream}, script))
        until(lambda: emulator.counters.model("m").attempts == 1)
        if script != "half_close":
            assert emulator.counters.model("m").in_flight == 1
    until(lambda: emulator.counters.model("m").in_flight == 0)
    assert emulator.counters.model("m").disconnected == (script != "half_close")
    assert emulator.counters.model("m").open_streams == 0


def test_a_peer_that_never_reads_leaves_no_trace(emulator):
    with connect(emulator) as peer:
        peer.sendall(message({"stream": True}, "oversize_line"))
        until(lambda: emulator.counters.model("m").in_flight == 1)
    until(lambda: emulator.counters.model("m").in_flight == 0)


def test_many_slow_calls_at_once(emulator):
    peers = [connect(emulator) for _ in range(200)]
    for peer in peers:
        peer.sendall(message({}, "latency=60000"))
    until(lambda: emulator.counters.model("m").in_flight == 200)
    for peer in peers:
        peer.close()
    until(lambda: emulator.counters.model("m").disconnected == 200)
    assert emulator.counters.model("m").max_in_flight == 200


# HTTP/1.1


def test_pipelined_requests_are_answered_in_order(emulator):
    with connect(emulator) as peer:
        first = message({"model": "first"}, "latency=50", connection="keep-alive")
        peer.sendall(first + message({"model": "second"}))
        found = b""
        while part := peer.recv(65536):
            found += part
    assert found.count(b"HTTP/1.1 200 OK") == 2
    assert found.index(b"[emulated first]") < found.index(b"[emulated second]")


def test_chunked_requests_and_expect(emulator):
    connection = http.client.HTTPConnection(urlsplit(emulator.url).netloc, timeout=20)
    body = json.dumps({"model": "m", "messages": MESSAGES}).encode()
    pieces = (body[start : start + 7] for start in range(0, len(body), 7))
    connection.request("POST", "/v1/chat/completions", pieces, {"Authorization": "Bearer k"}, encode_chunked=True)
    assert connection.getresponse().status == 200
    connection.close()
    with connect(emulator) as peer:
        head, _, body = message({}).partition(b"\r\n\r\n")
        peer.sendall(head + b"\r\nExpect: 100-continue\r\n\r\n")
        assert peer.recv(65536) == b"HTTP/1.1 100 Continue\r\n\r\n"
        peer.sendall(body)
        assert peer.recv(65536).startswith(b"HTTP/1.1 200 OK")


def test_http_10_streams_end_with_the_connection(emulator):
    with connect(emulator) as peer:
        peer.sendall(message({"stream": True}).replace(b"HTTP/1.1", b"HTTP/1.0"))
        found = b""
        while part := peer.recv(65536):
            found += part
    assert b"Transfer-Encoding" not in found
    assert found.endswith(b"data: [DONE]\n\n")
    assert emulator.counters.model("m").completed == 1


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"nonsense\r\n\r\n", b"400"),
        (b"GET / HTTP/1.1\r\nX: " + b"a" * 70_000, b"431"),
        (b"POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\n", b"400"),
    ],
)
def test_unreadable_requests_end_the_connection(emulator, sent, status):
    with connect(emulator) as peer:
        peer.sendall(sent)
        assert status in peer.recv(65536).split(b"\r\n")[0]
        assert peer.recv(65536) == b""


# The process


def test_process_serves_and_ends_on_sigterm(tmp_path):
    script = tmp_path / "script.yaml"
    script.write_text("slow: latency=60000\n")
    command = [sys.executable, "-m", "dujiang.emulator", "--port", "0", "--script", str(script)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line.startswith("listening on http://127.0.0.1:")
        where = urlsplit(line.split()[-1])
        with socket.create_connection((where.hostname, where.port), timeout=20) as peer:
            peer.sendall(message({"model": "slow"}) + message({"model": "ok"}))
            process.send_signal(signal.SIGTERM)
            assert process.wait(timeout=10) == 0


@pytest.mark.parametrize("content", ["m: nonsense", "[", None])
def test_process_refuses_a_bad_script(tmp_path, content):
    script = tmp_path / "script.yaml"
    if content is not None:
        script.write_text(content)
    command = [sys.executable, "-m", "dujiang.emulator", "--port", "0", "--script", str(script)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    assert ended.returncode == 1
    assert ended.stderr.strip()
    assert "Traceback" not in ended.stderr
