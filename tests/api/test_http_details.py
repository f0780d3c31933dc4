"""Corners of HTTP/1.1 that real clients turn, against a real server."""

import json
import socket
from contextlib import suppress

import pytest
from gateway import ADMIN_KEY, Gateway, behaving, counters, eventually

from dujiang.emulator.server import Emulator

BODY = json.dumps({"model": "gpt-4", "parameters": {"prompt": "hi"}}).encode()
CHAT = "/api/v1/chat/completions"


def request(*fields: str, target: str = CHAT, version: str = "1.1", body: bytes = BODY, stream: bool = False) -> bytes:
    if stream:
        body = json.dumps({"model": "lab-7b", "parameters": {"prompt": "hi", "stream": True}}).encode()
    lines = [
        f"POST {target} HTTP/{version}",
        "Host: x",
        f"Authorization: Bearer {ADMIN_KEY}",
        f"Content-Length: {len(body)}",
        *fields,
    ]
    return "\r\n".join([*lines, "", ""]).encode() + body


def get(target: str, *fields: str, version: str = "1.1") -> bytes:
    return "\r\n".join([f"GET {target} HTTP/{version}", "Host: x", "Connection: close", *fields, "", ""]).encode()


def read_all(peer: socket.socket) -> bytes:
    received = b""
    with suppress(ConnectionError):
        while data := peer.recv(65536):
            received += data
    return received


def talk(gateway: Gateway, *pieces: bytes) -> bytes:
    """Everything that is answered until the server closes."""
    with gateway.connect() as peer:
        for piece in pieces:
            peer.sendall(piece)
        return read_all(peer)


H2C = ("Connection: Upgrade, HTTP2-Settings, close", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA")


def test_an_offer_of_http_2_is_ignored_as_javas_client_makes_it(gateway: Gateway) -> None:
    answer = talk(gateway, request(*H2C))
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert b'"message":"success"' in answer
    assert talk(gateway, *(bytes([byte]) for byte in request(*H2C))).startswith(b"HTTP/1.1 200 ")
    assert talk(gateway, get("/health/live", "Connection: Upgrade", "Upgrade: h2c")).startswith(b"HTTP/1.1 200 ")


def test_a_websocket_is_not_spoken(gateway: Gateway) -> None:
    offer = ("Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: eA==")
    assert talk(gateway, get("/ws", *offer)).startswith(b"HTTP/1.1 404 ")


def test_a_body_that_the_refusal_did_not_wait_for_does_not_hide_it(gateway: Gateway) -> None:
    """The answer comes before the body was sent: it must not be lost to a reset."""
    head = b"POST /api/v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 10000000\r\n\r\n"
    with gateway.connect() as peer:
        peer.sendall(head)
        with suppress(ConnectionError):
            for _ in range(100):
                peer.sendall(b"x" * 10_000)
        assert read_all(peer).startswith(b"HTTP/1.1 401 ")


def test_nobody_is_told_to_continue_without_a_key(gateway: Gateway) -> None:
    head = b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n"
    assert talk(gateway, head).startswith(b"HTTP/1.1 401 ")


def test_nobody_is_told_to_continue_with_too_large_a_body(gateway: Gateway) -> None:
    head = request("Expect: 100-continue", body=b"").replace(b"Content-Length: 0", b"Content-Length: 99999999")
    assert talk(gateway, head).startswith(b"HTTP/1.1 413 ")


@pytest.mark.parametrize("version", ["1.0", "1.1"])
def test_old_and_new_http(gateway: Gateway, version: str) -> None:
    answer = talk(gateway, request("Connection: close", version=version))
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 ")
    assert b"\r\nconnection: close" in head
    assert json.loads(body)["code"] == 200


def test_http_1_0_stays_open_only_where_both_say_so(gateway: Gateway) -> None:
    asked = request("Connection: keep-alive", version="1.0")
    with gateway.connect() as peer:
        for _ in range(2):
            peer.sendall(asked)
            received = b""
            while not received.endswith(b"}"):
                received += peer.recv(65536)
            assert b"\r\nconnection: keep-alive\r\n" in received
    assert talk(gateway, request(version="1.0")).startswith(b"HTTP/1.1 200 ")


def test_an_http_1_0_stream_has_no_chunks(gateway: Gateway) -> None:
    head, _, body = talk(gateway, request(version="1.0", stream=True)).partition(b"\r\n\r\n")
    assert b"transfer-encoding" not in head
    assert body.startswith(b"data: {")
    assert body.endswith(b"data: [DONE]\n\n")


def test_the_absolute_form_is_the_same_request(gateway: Gateway) -> None:
    assert talk(gateway, request("Connection: close", target=f"http://x{CHAT}")).startswith(b"HTTP/1.1 200 ")
    assert talk(gateway, get("http://elsewhere:81/health/live?x=y")).startswith(b"HTTP/1.1 200 ")
    assert talk(gateway, get("http://elsewhere")).startswith(b"HTTP/1.1 404 ")


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/health%2Flive", 200),
        ("/%68ealth/live", 200),
        ("/health/live%00", 404),
        ("/health//live", 404),
        ("//health/live", 404),
        ("/health/./live", 404),
        ("/health/live/../ready", 404),
        ("/health/live/", 404),
        ("/docs/assets/..%2f..%2f__init__.py", 404),
        ("/docs/assets/%2e%2e%2fmetrics.py", 404),
        ("/%ff%fe", 404),
        ("/%zz", 404),
        ("/%", 404),
        ("/health/live#fragment", 404),
        ("/health/live?" + "x" * 20_000, 200),
        ("/health/live?" + "x" * 40_000, 431),
    ],
)
def test_paths(gateway: Gateway, path: str, status: int) -> None:
    answer = talk(gateway, get(path))
    assert int(answer.split()[1]) == status


def test_head_has_no_body(gateway: Gateway) -> None:
    answer = talk(gateway, get("/openapi.json").replace(b"GET", b"HEAD"))
    assert answer.endswith(b"\r\n\r\n")


def test_a_caller_that_closes_its_half_has_left(gateway: Gateway, emulator: Emulator) -> None:
    with behaving(emulator, "lab-7b-chat", "chunks=1000;chunk_interval=50"):
        before = counters(emulator, "lab-7b-chat")["disconnected"]
        with gateway.connect() as peer:
            peer.sendall(request(stream=True))
            assert peer.recv(100)
            peer.shutdown(socket.SHUT_WR)
            eventually(lambda: counters(emulator, "lab-7b-chat")["disconnected"] == before + 1, 5)


def test_a_pipelined_caller_that_leaves_is_noticed_too(gateway: Gateway, emulator: Emulator) -> None:
    with behaving(emulator, "lab-7b-chat", "chunks=20;chunk_interval=50"):
        with gateway.connect() as peer:
            peer.sendall(request(stream=True) + request(stream=True))
            assert peer.recv(100)
        eventually(lambda: gateway.metric("dujiang_calls_in_flight") == 0)
        eventually(lambda: counters(emulator, "lab-7b-chat")["in_flight"] == 0)


def test_what_follows_a_request_does_not_overtake_its_answer(gateway: Gateway, emulator: Emulator) -> None:
    with behaving(emulator, "gpt-4-0613", "latency=100"):
        answer = talk(gateway, request() + b"\0nonsense\r\n\r\n")
    first, _, rest = answer.partition(b"\r\n\r\n")
    assert first.startswith(b"HTTP/1.1 200 ")
    assert b"HTTP/1.1 400 " in rest


def test_a_trailer_of_a_gigabyte_is_cut_off(gateway: Gateway) -> None:
    head = request(body=b"").replace(b"Content-Length: 0", b"Transfer-Encoding: chunked")
    before = gateway.worker.memory_info().rss
    with gateway.connect() as peer:
        with suppress(ConnectionError):
            peer.sendall(head + b"2\r\n{}\r\n0\r\nX: ")
            for _ in range(400):
                peer.sendall(b"a" * 100_000)
        assert read_all(peer)[:13] in (b"HTTP/1.1 431 ", b"")
    assert gateway.worker.memory_info().rss - before < 8 * 1024 * 1024


def test_nothing_of_this_was_a_bug(gateway: Gateway) -> None:
    assert "Traceback" not in (gateway.data_dir / "log").read_text("utf-8")
