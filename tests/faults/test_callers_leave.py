"""A caller who leaves takes its call along: nothing goes on upstream, nothing is left behind."""

import asyncio
import json
import socket
import time

import pytest
from gateway import ADMIN_KEY, Gateway, behaving, counters, eventually

from dujiang.emulator.server import Emulator

PATHS = ["/api/v1/chat/completions", "/v1/chat/completions"]


def request(path: str, model: str, *, stream: bool) -> bytes:
    body = json.dumps(
        {"model": model, "parameters": {"prompt": "hi", "stream": stream}}
        if path.startswith("/api")
        else {"model": model, "messages": [{"role": "user", "content": "hi"}], "stream": stream}
    ).encode()
    head = (
        f"POST {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {ADMIN_KEY}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    ("moment", "behaviour", "stream"),
    [
        ("during a whole answer", "latency=60000", False),
        ("before the first token", "ttft=60000", True),
        ("mid-stream", "chunks=1000;chunk_interval=50", True),
    ],
)
def test_the_call_upstream_ends_within_a_second(
    gateway: Gateway, emulator: Emulator, path: str, moment: str, behaviour: str, stream: bool
) -> None:
    with behaving(emulator, "lab-7b-chat", behaviour):
        before = counters(emulator, "lab-7b-chat")
        with gateway.connect() as peer:
            peer.sendall(request(path, "lab-7b", stream=stream))
            eventually(lambda: counters(emulator, "lab-7b-chat")["in_flight"] == before["in_flight"] + 1)
            if moment == "mid-stream":
                assert peer.recv(100)
        left_at = time.monotonic()
        eventually(lambda: counters(emulator, "lab-7b-chat")["disconnected"] == before["disconnected"] + 1, 5)
        assert time.monotonic() - left_at < 1.5
        after = counters(emulator, "lab-7b-chat")
    assert after["in_flight"] == before["in_flight"]
    assert after["completed"] == before["completed"]
    eventually(lambda: gateway.metric("dujiang_calls_in_flight") == 0)


@pytest.mark.parametrize("behaviour", ["latency=60000", "chunks=1000;chunk_interval=50"])
def test_a_thousand_leave_at_once_and_nothing_stays(gateway: Gateway, emulator: Emulator, behaviour: str) -> None:
    stream = "chunks" in behaviour
    gateway.chat()
    eventually(lambda: gateway.metric("dujiang_calls_in_flight") == 0)
    tasks, descriptors = gateway.metric("dujiang_event_loop_tasks"), gateway.worker.num_fds()
    emulator_before = counters(emulator, "lab-7b-chat")["disconnected"]
    with behaving(emulator, "lab-7b-chat", behaviour):
        peers = [socket.create_connection(("127.0.0.1", gateway.port)) for _ in range(1000)]
        try:
            for peer in peers:
                peer.sendall(request(PATHS[0], "lab-7b", stream=stream))
            eventually(lambda: counters(emulator, "lab-7b-chat")["in_flight"] == 1000, 60)
        finally:
            for peer in peers:
                peer.close()
        eventually(lambda: counters(emulator, "lab-7b-chat")["disconnected"] == emulator_before + 1000, 30)
    eventually(lambda: gateway.metric("dujiang_calls_in_flight") == 0, 30)
    eventually(lambda: gateway.metric("dujiang_event_loop_tasks") <= tasks, 30)
    eventually(lambda: gateway.worker.num_fds() <= descriptors + 12, 30)  # each thread has its own database
    assert gateway.chat().status == 200


def test_every_way_to_leave_is_counted_as_cancelled(gateway: Gateway, emulator: Emulator) -> None:
    def cancelled() -> float:
        text = gateway.ask("/metrics").body.decode()
        return sum(float(x.rsplit(" ", 1)[1]) for x in text.splitlines() if 'outcome="cancelled"' in x)

    before = cancelled()
    with behaving(emulator, "lab-7b-chat", "chunks=1000;chunk_interval=50"):
        with gateway.connect() as peer:
            peer.sendall(request(PATHS[0], "lab-7b", stream=True))
            assert peer.recv(100)
        eventually(lambda: cancelled() == before + 1)


def test_a_slow_reader_holds_the_service_back_and_costs_no_memory(gateway: Gateway, emulator: Emulator) -> None:
    """A reader that stops reading: what it was not sent stays upstream, and the worker does not grow."""
    with behaving(emulator, "lab-7b-chat", "chunks=100000"), gateway.connect() as peer:
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        before = gateway.worker.memory_info().rss
        peer.sendall(request(PATHS[0], "lab-7b", stream=True))
        eventually(lambda: counters(emulator, "lab-7b-chat")["open_streams"] == 1)
        time.sleep(1.0)
        assert gateway.worker.memory_info().rss - before < 16 * 1024 * 1024
        assert gateway.chat().status == 200
    eventually(lambda: counters(emulator, "lab-7b-chat")["open_streams"] == 0)


def test_many_at_once_are_all_answered(gateway: Gateway, emulator: Emulator) -> None:
    async def one() -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
        writer.write(request(PATHS[0], "lab-7b", stream=False))
        head = await reader.readuntil(b"\r\n\r\n")
        writer.close()
        return head

    async def main() -> list[bytes]:
        return await asyncio.gather(*(one() for _ in range(500)))

    with behaving(emulator, "lab-7b-chat", "latency=200"):
        heads = asyncio.run(main())
    assert all(head.startswith(b"HTTP/1.1 200 ") for head in heads)
