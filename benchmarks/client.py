"""A small HTTP/1.1 load client on raw sockets: whole answers, streams, and many calls at once.

Run as a process of its own, on a core of its own; prints one `Load` as JSON.
"""

import argparse
import asyncio
import sys
import time
from pathlib import Path
from typing import cast

import httptools
import msgspec
import uvloop

_CONNECT_AT_ONCE = 100
_ANSWER_S = 60.0


class Load(msgspec.Struct, frozen=True):
    """What a load saw. `events` counts the server-sent events of streams; latencies are of whole calls."""

    calls: int
    seconds: float
    p50_ms: float
    p99_ms: float
    errors: int
    events: int = 0


class Connection(asyncio.Protocol):
    """A keep-alive connection with one call at a time."""

    def __init__(self) -> None:
        self.status = 0
        self.events = 0
        self.tail = b""
        self._is_open = False
        self._answered: asyncio.Future[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._parser = httptools.HttpResponseParser(self)
        self._is_open = True

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def connection_lost(self, exc: Exception | None) -> None:
        self._is_open = False
        if self._answered is not None and not self._answered.done():
            self._answered.set_exception(exc or ConnectionResetError("the server closed the connection"))

    def on_body(self, data: bytes) -> None:
        """Count the blank lines that end events, also where one is cut in two."""
        self.events += data.count(b"\n\n") + (self.tail.endswith(b"\n") and data.startswith(b"\n"))
        self.tail = (self.tail + data)[-32:]

    def on_message_complete(self) -> None:
        self.status = self._parser.get_status_code()
        if self._answered is not None and not self._answered.done():
            self._answered.set_result(None)

    async def call(self, request: bytes) -> None:
        """Send the request and wait for the end of its answer. Raises OSError or TimeoutError."""
        if not self._is_open:
            raise ConnectionResetError("the server closed the connection")
        self.status, self.events, self.tail = 0, 0, b""
        loop = asyncio.get_running_loop()
        self._answered = loop.create_future()
        self._transport.write(request)
        alarm = loop.call_later(_ANSWER_S, self._transport.abort)
        try:
            await self._answered
        finally:
            alarm.cancel()

    def close(self) -> None:
        self._transport.abort()


class Tally:
    """Outcomes of calls while they happen. A call is a stream where a number of events is expected of it."""

    def __init__(self, events_expected: int) -> None:
        self._events_expected = events_expected
        self._latencies_s: list[float] = []
        self._errors = 0
        self._events = 0

    async def call(self, connection: Connection, request: bytes) -> None:
        """One call, counted. A stream that lacks events or its `[DONE]` is an error, whatever its status."""
        started = time.perf_counter()
        try:
            await connection.call(request)
        except OSError:
            self._errors += 1
            await asyncio.sleep(0.01)
            return
        self._latencies_s.append(time.perf_counter() - started)
        self._errors += connection.status != 200
        if self._events_expected:
            self._events += connection.events
            is_ended = connection.tail.rstrip().endswith(b"data: [DONE]")
            self._errors += connection.status == 200 and not (is_ended and connection.events >= self._events_expected)

    def load(self, seconds: float) -> Load:
        latencies = sorted(self._latencies_s) or [0.0]
        p50, p99 = (latencies[int(len(latencies) * share)] * 1000 for share in (0.50, 0.99))
        return Load(len(self._latencies_s), seconds, p50, p99, self._errors, self._events)


async def connect(port: int, number: int) -> list[Connection]:
    """Open the connections, a hundred at a time so that no accept queue overflows."""
    loop = asyncio.get_running_loop()
    made: list[Connection] = []
    while len(made) < number:
        batch = min(_CONNECT_AT_ONCE, number - len(made))
        pairs = await asyncio.gather(*(loop.create_connection(Connection, "127.0.0.1", port) for _ in range(batch)))
        made.extend(protocol for _, protocol in pairs)
    return made


async def run(port: int, request: bytes, *, connections: int, seconds: float, repeats: int, events: int) -> Load:
    """Drive the connections for a time, then for as many calls each as `repeats` still asks for."""
    tally = Tally(events)
    opened = await connect(port, connections)
    started = time.perf_counter()

    async def drive(connection: Connection) -> None:
        while time.perf_counter() - started < seconds:
            await tally.call(connection, request)
        for _ in range(repeats):
            await tally.call(connection, request)

    await asyncio.gather(*map(drive, opened))
    took = time.perf_counter() - started
    for connection in opened:
        connection.close()
    return tally.load(took)


def request_bytes(path: str, body: bytes, key: str) -> bytes:
    head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {key}\r\n"
    return f"{head}Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("port", type=int)
    parser.add_argument("path")
    parser.add_argument("body_file", type=Path)
    parser.add_argument("--key", required=True)
    parser.add_argument("--connections", type=int, default=16)
    parser.add_argument("--seconds", type=float, default=0.0, help="how long every connection asks again at once")
    parser.add_argument("--repeats", type=int, default=0, help="calls of every connection after that")
    parser.add_argument("--events", type=int, default=0, help="the least a stream must have; 0 for whole answers")
    asked = parser.parse_args()
    request = request_bytes(asked.path, asked.body_file.read_bytes(), asked.key)
    how = {name: getattr(asked, name) for name in ("connections", "seconds", "repeats", "events")}
    sys.stdout.buffer.write(msgspec.json.encode(uvloop.run(run(asked.port, request, **how))))


if __name__ == "__main__":
    main()
