"""Bad input gets a clear 4xx that names the field, in the format of its route, and the process lives."""

import json
from typing import Any

import pytest
from gateway import ADMIN_KEY, Gateway

NATIVE = "/api/v1/chat/completions"
OPENAI = "/v1/chat/completions"


def native(**changes: Any) -> dict[str, Any]:
    return {"model": "gpt-4", "parameters": {"prompt": "hi"}, **changes}


def parameters(**changes: Any) -> dict[str, Any]:
    return {"model": "gpt-4", "parameters": {"prompt": "hi", **changes}}


def openai(**changes: Any) -> dict[str, Any]:
    return {"model": "gpt-4", "messages": [{"role": "user", "content": "hi"}], **changes}


DEEP = (
    b'{"model":"gpt-4","parameters":{"prompt":"hi","response_format":'
    + b'{"a":' * 100_000
    + b"1"
    + b"}" * 100_000
    + b"}}"
)
DEEP_OPENAI = (
    b'{"model":"gpt-4","messages":[{"role":"user","content":"hi"}],"metadata":'
    + b'{"a":' * 100_000
    + b"1"
    + b"}" * 100_000
    + b"}"
)

NATIVE_CASES: dict[str, tuple[Any, int, str | None]] = {
    "nothing": (b"", 400, None),
    "broken JSON": (b'{"model":"gpt-4",', 400, None),
    "not an object": (b"[]", 400, None),
    "a number": (b"7", 400, None),
    "trailing bytes": (b'{"model":"gpt-4","parameters":{"prompt":"a"}} x', 400, None),
    "byte order mark": (b"\xef\xbb\xbf{}", 400, None),
    "invalid UTF-8": (b'{"model":"gpt-4","parameters":{"prompt":"\xff\xfe"}}', 400, None),
    "lone surrogate": (b'{"model":"gpt-4","parameters":{"prompt":"\\ud800"}}', 400, None),
    "NaN": (b'{"model":"gpt-4","parameters":{"prompt":"a","temperature":NaN}}', 400, None),
    "1e400": (b'{"model":"gpt-4","parameters":{"prompt":"a","temperature":1e400}}', 400, "parameters.temperature"),
    "deep": (DEEP, 400, None),
    "no parameters": ({"model": "gpt-4"}, 400, "parameters"),
    "no model": ({"parameters": {"prompt": "hi"}}, 400, "model"),
    "model is a number": (native(model=4), 400, "model"),
    "unknown model": (native(model="gpt-99"), 404, "model"),
    "model with tricks": (native(model="../../gpt-4\r\nx: y"), 404, "model"),
    "huge model name": (native(model="m" * 100_000), 404, "model"),
    "empty prompt": (parameters(prompt=""), 400, "parameters.prompt"),
    "blank prompt": (parameters(prompt=" \n\t "), 400, "parameters.prompt"),
    "prompt is null": (parameters(prompt=None), 400, "parameters.prompt"),
    "prompt is a list": (parameters(prompt=["a"]), 400, "parameters.prompt"),
    "prompt and messages": (parameters(messages=[{"role": "user", "content": "a"}]), 400, "parameters.prompt"),
    "no messages": ({"model": "gpt-4", "parameters": {"messages": []}}, 400, "parameters.messages"),
    "bad role": (
        {"model": "gpt-4", "parameters": {"messages": [{"role": "god", "content": "a"}]}},
        400,
        "parameters.messages[0].role",
    ),
    "message without content": (
        {"model": "gpt-4", "parameters": {"messages": [{"role": "user"}]}},
        400,
        "parameters.messages[0].content",
    ),
    "max_tokens 0": (parameters(max_tokens=0), 400, "parameters.max_tokens"),
    "max_tokens negative": (parameters(max_tokens=-1), 400, "parameters.max_tokens"),
    "max_tokens huge": (parameters(max_tokens=10**12), 400, "parameters.max_tokens"),
    "max_tokens a text": (parameters(max_tokens="100"), 400, "parameters.max_tokens"),
    "max_tokens a float": (parameters(max_tokens=1.5), 400, "parameters.max_tokens"),
    "temperature 3": (parameters(temperature=3), 400, "parameters.temperature"),
    "temperature a text": (parameters(temperature="hot"), 400, "parameters.temperature"),
    "top_p 2": (parameters(top_p=2), 400, "parameters.top_p"),
    "seed too large": (parameters(seed=2**63), 400, "parameters.seed"),
    "timeout 0": (parameters(timeout_s=0), 400, "parameters.timeout_s"),
    "timeout negative": (parameters(timeout_s=-5), 400, "parameters.timeout_s"),
    "stream a text": (parameters(stream="yes"), 400, "parameters.stream"),
    "no tools": (parameters(tools=[]), 400, "parameters.tools"),
    "tool without name": (
        parameters(tools=[{"type": "function", "function": {}}]),
        400,
        "parameters.tools[0].function",
    ),
    "variables without scene": (parameters(variables={"a": 1}), 400, "parameters.variables"),
    "typo": (parameters(temprature=1), 400, "parameters.temprature"),
    "unknown at the top": (native(stream=True), 400, "stream"),
    "base_url": (native(base_url="http://evil"), 400, "base_url"),
    "api_base": (parameters(api_base="http://evil"), 400, "parameters.api_base"),
    "api_key": (native(user_info={"api_key": "x"}), 400, "user_info.api_key"),
    "headers": (parameters(headers={"x": "y"}), 400, "parameters.headers"),
    "extra_headers": (native(extra_headers={}), 400, "extra_headers"),
    "proxies": (parameters(proxies={}), 400, "parameters.proxies"),
    "api_key in a message": (
        {"model": "gpt-4", "parameters": {"messages": [{"role": "user", "content": "a", "api_key": "x"}]}},
        400,
        "parameters.messages[0].api_key",
    ),
    "user_info a text": (native(user_info="me"), 400, "user_info"),
    "role a number": (native(user_info={"user_role": 1}), 400, "user_info.user_role"),
    "is_admin": (native(user_info={"is_admin": True}), 400, "user_info.is_admin"),
    "request_id empty": (native(request_id=""), 400, "request_id"),
    "request_id long": (native(request_id="x" * 201), 400, "request_id"),
    "request_id with a line end": (native(request_id="a\r\nset-cookie: b"), 400, "request_id"),
    "request_id with a NUL": (native(request_id="a\0b"), 400, "request_id"),
    "request_id a number": (native(request_id=7), 400, "request_id"),
    "cache": (parameters(cache={"mode": "on"}), 501, "parameters.cache"),
    "cache mode": (parameters(cache={"mode": "sometimes"}), 400, "parameters.cache.mode"),
    "priority": (parameters(priority="urgent"), 400, "parameters.priority"),
}

OPENAI_CASES: dict[str, tuple[Any, int, str | None]] = {
    "nothing": (b"", 400, None),
    "broken JSON": (b"{", 400, None),
    "deep": (DEEP_OPENAI, 400, None),
    "no model": ({"messages": [{"role": "user", "content": "hi"}]}, 400, "model"),
    "no messages": ({"model": "gpt-4"}, 400, "messages"),
    "empty messages": (openai(messages=[]), 400, "messages"),
    "unknown model": (openai(model="gpt-99"), 404, "model"),
    "n 2": (openai(n=2), 400, "n"),
    "n a million": (openai(n=10**6), 400, "n"),
    "temperature": (openai(temperature=-1), 400, "temperature"),
    "max_tokens 0": (openai(max_tokens=0), 400, "max_tokens"),
    "base_url": (openai(base_url="http://evil"), 400, "base_url"),
    "extra_headers": (openai(extra_headers={}), 400, "extra_headers"),
    "headers in metadata": (openai(metadata={"headers": "x"}), 400, "metadata.headers"),
    "unknown": (openai(max_token=5), 400, "max_token"),
    "tool without id": (openai(messages=[{"role": "tool", "content": "x"}]), 400, "messages[0].tool_call_id"),
}


@pytest.mark.parametrize("name", NATIVE_CASES)
def test_native(gateway: Gateway, name: str) -> None:
    body, status, param = NATIVE_CASES[name]
    answer = gateway.ask(NATIVE, body, method="POST")
    assert answer.status == status
    envelope = answer.json
    assert envelope["code"] == status
    assert envelope["data"] is None
    assert envelope["message"]
    assert envelope["error"]["param"] == param
    assert envelope["request_id"]
    assert answer.headers["x-request-id"]


@pytest.mark.parametrize("name", OPENAI_CASES)
def test_openai(gateway: Gateway, name: str) -> None:
    body, status, param = OPENAI_CASES[name]
    answer = gateway.ask(OPENAI, body, method="POST")
    assert answer.status == status
    error = answer.json["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["param"] == param


def test_a_typo_names_the_nearest_field(gateway: Gateway) -> None:
    assert "`temperature`" in gateway.ask(NATIVE, parameters(temprature=1)).json["message"]
    assert "`max_tokens`" in gateway.ask(OPENAI, openai(max_token=1)).json["error"]["message"]


def test_a_tools_schema_may_name_anything(gateway: Gateway) -> None:
    schema = {"type": "object", "properties": {"headers": {"type": "object"}, "api_key": {"type": "string"}}}
    tool = {"type": "function", "function": {"name": "call", "parameters": schema}}
    assert gateway.ask(OPENAI, openai(tools=[tool])).status == 200


def test_forbidden_words_in_a_prompt_are_just_words(gateway: Gateway) -> None:
    assert gateway.chat(prompt='{"api_key": "x", "headers": {}}').status == 200


def test_the_request_id_is_echoed_even_when_the_body_is_wrong(gateway: Gateway) -> None:
    answer = gateway.ask(NATIVE, native(request_id="mine-1", nonsense=1))
    assert answer.status == 400
    assert answer.json["request_id"] == "mine-1"
    assert answer.headers["x-request-id"] == "mine-1"


def test_a_request_id_that_no_header_can_carry_is_echoed_in_the_body(gateway: Gateway) -> None:
    answer = gateway.ask(NATIVE, native(request_id="编号 1"))
    assert answer.status == 200
    assert answer.json["request_id"] == "编号 1"
    assert answer.headers["x-request-id"].isascii()


@pytest.mark.parametrize("path", [NATIVE, OPENAI])
@pytest.mark.parametrize("size", [20 * 1024 * 1024])
def test_too_large_a_body(gateway: Gateway, path: str, size: int) -> None:
    answer = gateway.ask(path, b"x" * size)
    assert answer.status == 413
    assert gateway.ask(path, json.dumps(native() if path == NATIVE else openai()).encode()).status == 200


def test_too_large_a_body_in_chunks(gateway: Gateway) -> None:
    head = (
        f"POST {NATIVE} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {ADMIN_KEY}\r\nTransfer-Encoding: chunked\r\n\r\n"
    )
    with gateway.connect() as peer:
        peer.sendall(head.encode())
        received = b""
        try:
            for _ in range(20):
                peer.sendall(b"100000\r\n" + b"x" * 0x100000 + b"\r\n")
        except (BrokenPipeError, ConnectionResetError):
            pass
        while b"\r\n\r\n" not in received and (data := peer.recv(65536)):
            received += data
    assert received.startswith(b"HTTP/1.1 413 ")


@pytest.mark.parametrize("path", [NATIVE, OPENAI])
@pytest.mark.parametrize("method", ["GET", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"])
def test_wrong_method(gateway: Gateway, path: str, method: str) -> None:
    answer = gateway.ask(path, method=method)
    assert answer.status == 405
    assert answer.headers["allow"] == "POST"


@pytest.mark.parametrize(
    "authorization",
    [
        None,
        "",
        "Bearer",
        "Bearer ",
        "Basic abc",
        "Bearer dj-wrong",
        "Bearer ' OR 1=1 --",
        "Bearer \xff\xfe",
        "x" * 2000,
    ],
)
@pytest.mark.parametrize("path", [NATIVE, OPENAI, "/v1/models", "/metrics", "/api/v1/records"])
def test_no_key(gateway: Gateway, path: str, authorization: str | None) -> None:
    headers = {} if authorization is None else {"Authorization": authorization}
    method = "POST" if path.endswith("completions") else "GET"
    answer = gateway.ask(path, b"{}" if method == "POST" else None, method=method, key=None, headers=headers)
    assert answer.status == 401
    assert answer.headers["www-authenticate"] == "Bearer"
    if path.startswith("/v1/"):
        assert answer.json["error"]["code"] == "invalid_api_key"
    else:
        assert answer.json["error"]["type"] == "unauthenticated"


@pytest.mark.parametrize("path", ["/api/v1/schedule/plan", "/api/v1/cache", "/v1/embeddings"])
def test_what_is_not_built_says_so(gateway: Gateway, path: str) -> None:
    answer = gateway.ask(path, {} if "plan" in path or "embeddings" in path else None)
    assert answer.status == 501


@pytest.mark.parametrize(
    "path", ["/nothing", "/api/v1/nothing", "/v1/nothing", "/api/v1/chat/completions/", "/%2e%2e/x"]
)
def test_nothing_there(gateway: Gateway, path: str) -> None:
    answer = gateway.ask(path)
    assert answer.status == 404
    assert "error" in answer.json


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabc",
        b"GET / HTTP/1.1\r\nHost : a\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\n folded: x\r\n\r\n",
        b"GET /\xff HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET / HTTP/9.9\r\nHost: a\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"NONSENSE\r\n\r\n",
    ],
)
def test_what_is_not_proper_http_is_refused_and_closed(gateway: Gateway, request_bytes: bytes) -> None:
    with gateway.connect() as peer:
        peer.sendall(request_bytes)
        received = b""
        while data := peer.recv(65536):
            received += data
    assert received.startswith(b"HTTP/1.1 400 ")


def test_pipelined_requests_are_answered_in_order(gateway: Gateway) -> None:
    body = json.dumps(native()).encode()
    request = (
        f"POST {NATIVE} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {ADMIN_KEY}\r\nContent-Length: {len(body)}\r\n\r\n"
    ).encode() + body
    live = b"GET /health/live HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    with gateway.connect() as peer:
        peer.sendall(request + request + live)
        received = b""
        while data := peer.recv(65536):
            received += data
    assert received.count(b"HTTP/1.1 200 ") == 3
    assert received.rstrip().endswith(b'{"status":"ok"}')


def test_a_caller_who_expects_continue_gets_it(gateway: Gateway) -> None:
    body = json.dumps(native()).encode()
    head = (
        f"POST {NATIVE} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {ADMIN_KEY}\r\nContent-Length: {len(body)}\r\n"
        "Expect: 100-continue\r\nConnection: close\r\n\r\n"
    )
    with gateway.connect() as peer:
        peer.sendall(head.encode())
        assert peer.recv(100).startswith(b"HTTP/1.1 100 ")
        peer.sendall(body)
        assert peer.recv(100).startswith(b"HTTP/1.1 200 ")


def test_the_process_lives(gateway: Gateway) -> None:
    assert gateway.chat().status == 200
    assert len(gateway.process.children()) >= 1
