"""The load client must not count what is not an answer: a benchmark of errors looks fast."""

import asyncio
from typing import cast

import pytest

from benchmarks.client import Connection, Load, request_bytes, run

WHOLE = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
REFUSED = b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 2\r\n\r\nno"


def stream(*events: str) -> bytes:
    body = "".join(f"data: {event}\n\n" for event in events)
    return f"HTTP/1.1 200 OK\r\ncontent-length: {len(body)}\r\n\r\n{body}".encode()


class Answering(asyncio.Protocol):
    """Gives one answer to every request, in pieces of a byte."""

    def __init__(self, answer: bytes) -> None:
        self._answer = answer

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        for byte in self._answer * data.count(b"POST"):
            self._transport.write(bytes([byte]))


def load_on(answer: bytes, *, events: int = 0) -> Load:
    """What the client says of a server that answers like this: two calls on each of three connections."""

    async def main() -> Load:
        server = await asyncio.get_running_loop().create_server(lambda: Answering(answer), "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        request = request_bytes("/", b"{}", key="secret")
        load = await run(port, request, connections=3, seconds=0, repeats=2, events=events)
        server.close()
        return load

    return asyncio.run(main())


def test_whole_answers_are_counted() -> None:
    load = load_on(WHOLE)
    assert (load.calls, load.errors, load.events) == (6, 0, 0)
    assert 0 < load.p50_ms <= load.p99_ms


def test_an_error_status_is_an_error() -> None:
    assert load_on(REFUSED).errors == 6


def test_events_are_counted_wherever_they_are_cut() -> None:
    load = load_on(stream("a", "b", "[DONE]"), events=2)
    assert (load.calls, load.errors, load.events) == (6, 0, 18)


@pytest.mark.parametrize("answer", [stream("a", "b", "c"), stream("a", "[DONE]")], ids=["no end", "too few"])
def test_an_incomplete_stream_is_an_error(answer: bytes) -> None:
    assert load_on(answer, events=3).errors == 6


def test_a_request_carries_the_key_and_its_length() -> None:
    request = request_bytes("/v1/x", b'{"a":1}', key="secret")
    assert request.startswith(b"POST /v1/x HTTP/1.1\r\n")
    assert b"Authorization: Bearer secret\r\n" in request
    assert request.endswith(b'Content-Length: 7\r\n\r\n{"a":1}')


def test_an_event_cut_between_its_line_ends_counts_once() -> None:
    connection = Connection()
    for piece in (b"data: x\n", b"\n", b"data: y\n\nda", b"ta: z\n\n"):
        connection.on_body(piece)
    assert connection.events == 3
