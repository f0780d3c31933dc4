"""Peers that send nothing, a little, far too much, or never read: dropped in time, and memory stays flat."""

import asyncio
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import psutil
import pytest
import uvloop
from gateway import Gateway

from dujiang.server.listener import Server
from dujiang.server.peer import PeerLimits

LIMITS = PeerLimits(head_s=0.5, body_s=0.5, write_s=0.5, keep_alive_s=0.5)


async def application(scope: dict, receive: object, send: object) -> None:
    """Reads the body, then answers as many megabytes as the path says."""
    while (await receive()).get("more_body"):
        pass
    size = int(scope["path"].strip("/") or 0) * 1024 * 1024
    await send({"type": "http.response.start", "status": 200, "headers": []})
    for _ in range(size // 65536):
        await send({"type": "http.response.body", "body": b"x" * 65536, "more_body": True})
    await send({"type": "http.response.body", "body": b"end"})


@contextmanager
def serving(limits: PeerLimits) -> Iterator[int]:
    """The server with short patience, in a thread; yields its port."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    loop = uvloop.new_event_loop()
    server = Server(application, listener, limits)
    loop.run_until_complete(server.start())
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        yield listener.getsockname()[1]
    finally:
        server.stop_accepting()
        asyncio.run_coroutine_threadsafe(server.close(), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


def is_closed(peer: socket.socket) -> bool:
    with suppress(ConnectionError):
        while peer.recv(65536):
            pass
    return True


@pytest.mark.parametrize(
    "start",
    [
        b"",
        b"GET / HTTP/1.1\r\nHost:",
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nhalf",
        b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf",
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    ],
    ids=["nothing", "half a head", "half a body", "half of the chunks", "nothing after an answer"],
)
def test_a_peer_that_keeps_us_waiting_is_dropped(start: bytes) -> None:
    with serving(LIMITS) as port, socket.create_connection(("127.0.0.1", port), timeout=10) as peer:
        peer.sendall(start)
        assert is_closed(peer)


def test_a_head_in_drops_does_not_buy_time() -> None:
    with serving(LIMITS) as port, socket.create_connection(("127.0.0.1", port), timeout=10) as peer:
        began = time.monotonic()
        with suppress(ConnectionError):
            for _ in range(200):
                peer.sendall(b"G" if time.monotonic() == began else b"x")
                time.sleep(0.05)
        assert time.monotonic() - began < 8


def test_a_peer_that_never_reads_is_dropped() -> None:
    with serving(LIMITS) as port, socket.create_connection(("127.0.0.1", port), timeout=10) as peer:
        peer.sendall(b"GET /64 HTTP/1.1\r\nHost: x\r\n\r\n")
        time.sleep(2.5)
        received = 0
        with suppress(ConnectionError):
            while data := peer.recv(1 << 20):
                received += len(data)
        assert received < 64 * 1024 * 1024


@pytest.mark.parametrize(
    ("start", "block"),
    [
        (b"GET / HTTP/1.1\r\nHost: x\r\nX: ", b"a" * 65536),
        (b"GET / HTTP/1.1\r\nHost: x\r\n", b"X: y\r\n" * 10_000),
        (b"GET /", b"a" * 65536),
    ],
    ids=["one long field", "many fields", "a long path"],
)
def test_200_mb_of_headers_cost_no_memory(gateway: Gateway, start: bytes, block: bytes) -> None:
    worker = gateway.worker
    before = worker.memory_info().rss
    peak = before
    with gateway.connect() as peer:
        sent = 0
        with suppress(ConnectionError):
            peer.sendall(start)
            while sent < 200 * 1024 * 1024:
                peer.sendall(block)
                sent += len(block)
                peak = max(peak, worker.memory_info().rss)
        with suppress(ConnectionError):
            received = peer.recv(100)
            assert received[:12] in (b"HTTP/1.1 431", b"HTTP/1.1 400", b"")
    assert peak - before < 8 * 1024 * 1024
    assert gateway.chat().status == 200


def test_hundreds_of_silent_peers_do_not_keep_others_waiting(gateway: Gateway) -> None:
    peers = [gateway.connect() for _ in range(300)]
    try:
        for peer in peers[::2]:
            peer.sendall(b"POST /v1/chat/completions HTTP/1.1\r\n")
        assert gateway.chat().status == 200
    finally:
        for peer in peers:
            peer.close()
    assert isinstance(gateway.worker, psutil.Process)
