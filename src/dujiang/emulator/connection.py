"""One caller's HTTP/1.1 connection: requests parsed, answered one after another, step by step, without a task."""

import asyncio
import socket
import struct
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import cast

import httptools
import msgspec
from msgspec import Struct

from dujiang.emulator import wire
from dujiang.emulator.counters import Attempt
from dujiang.emulator.dialect import Request
from dujiang.emulator.wire import FOREVER, Signal, Step

_MAX_HEAD_BYTES = 65_536
_MAX_BODY_BYTES = 64 * 2**20
_MAX_PIPELINED = 16
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)


class Play(Struct):
    """How a request is answered. `attempt` is the call it counts as, None for what is no call."""

    steps: Iterable[Step]
    attempt: Attempt | None = None
    completes: bool = False


class Connection(asyncio.Protocol):
    """Reads requests and plays their answers in order; a pipelined request waits for its turn.

    The caller's end of the connection counts as leaving, also when it only says that it will send no more.
    """

    def __init__(
        self, loop: asyncio.AbstractEventLoop, answer: Callable[[Request], Play], open_connections: "set[Connection]"
    ) -> None:
        self._loop = loop
        self._answer = answer
        self._open = open_connections
        self._waiting: deque[Request] = deque()
        self._play: Play | None = None
        self._steps: Iterator[Step] = iter(())
        self._keeps_alive = True
        self._timer: asyncio.Handle | None = None
        self._head_bytes = 0
        self._is_in_body = False
        self._is_paused = False
        self._is_stalled = False
        self._is_over = False

    # asyncio's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._parser = httptools.HttpRequestParser(self)
        self._open.add(self)

    def data_received(self, data: bytes) -> None:
        if self._is_over:
            return
        if not self._is_in_body:
            self._head_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self._refuse(400)
        if not self._is_in_body and self._head_bytes > _MAX_HEAD_BYTES:
            self._refuse(431)
        self._serve_waiting()

    def connection_lost(self, exc: Exception | None) -> None:
        self._is_over = True
        self._open.discard(self)
        self._waiting.clear()
        if self._timer is not None:
            self._timer.cancel()
        if self._play is not None and self._play.attempt is not None:
            self._play.attempt.disconnect()
        self._play = None
        self._steps = iter(())
        del self._parser

    def pause_writing(self) -> None:
        self._is_paused = True

    def resume_writing(self) -> None:
        self._is_paused = False
        if self._is_stalled:
            self._is_stalled = False
            self._timer = self._loop.call_soon(self._go_on)  # uvloop may keep what is written here until it wakes again

    def abort(self) -> None:
        """Drop the connection; a call on it counts as neither completed nor left."""
        self._end(None)
        self._transport.abort()

    # the parser's side

    def on_message_begin(self) -> None:
        self._path = b""
        self._headers: dict[bytes, bytes] = {}
        self._body: list[bytes] = []
        self._body_bytes = 0

    def on_url(self, url: bytes) -> None:
        self._path += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers[name.lower()] = value

    def on_headers_complete(self) -> None:
        self._head_bytes = 0
        self._is_in_body = True
        if self._headers.get(b"expect", b"").lower() == b"100-continue" and self._play is None:
            self._transport.write(_CONTINUE)

    def on_body(self, body: bytes) -> None:
        self._body.append(body)
        self._body_bytes += len(body)
        if self._body_bytes > _MAX_BODY_BYTES:
            self._refuse(413)

    def on_message_complete(self) -> None:
        self._is_in_body = False
        if self._is_over:
            return
        if len(self._waiting) >= _MAX_PIPELINED:
            self._refuse(429)
            return
        is_http_10 = self._parser.get_http_version() == "1.0"
        path, _, query = self._path.decode("latin-1").partition("?")
        self._waiting.append(
            Request(
                self._parser.get_method().decode("ascii"),
                path,
                self._headers,
                b"".join(self._body),
                self._parser.should_keep_alive() and not is_http_10,
                is_http_10,
                query,
            )
        )

    # answering

    def _refuse(self, status: int) -> None:
        """End a connection whose requests cannot be read; an answer under way is broken off."""
        if self._is_over:
            return
        is_answering = self._play is not None
        self._end(None)
        if not is_answering:
            body = msgspec.json.encode({"error": {"message": "The request cannot be read.", "code": status}})
            self._transport.write(wire.head(status, b"application/json", wire.length(body) + wire.CLOSE) + body)
        self._transport.close()

    def _serve_waiting(self) -> None:
        while self._waiting and self._play is None and not self._is_over:
            request = self._waiting.popleft()
            self._keeps_alive = request.keeps_alive
            self._play = self._answer(request)
            self._steps = iter(self._play.steps)
            self._advance()

    def _go_on(self) -> None:
        self._timer = None
        self._advance()
        self._serve_waiting()

    def _advance(self) -> None:
        """Take steps until one makes the answer wait, ends it, or none is left."""
        for step in self._steps:
            if isinstance(step, bytes):
                self._transport.write(step)
                if self._is_paused:
                    self._is_stalled = True
                    return
            elif isinstance(step, Signal):
                if step is not Signal.OPEN_STREAM:
                    self._obey(step)
                    return
                if self._play is not None and self._play.attempt is not None:
                    self._play.attempt.open_stream()
            else:
                if step != FOREVER:
                    self._timer = self._loop.call_later(step, self._go_on)
                return
        self._finish()

    def _finish(self) -> None:
        play, self._play = self._play, None
        if play is not None and play.attempt is not None:
            if play.completes:
                play.attempt.complete()
            else:
                play.attempt.abandon()
        if not self._keeps_alive:
            self._is_over = True
            self._transport.close()

    def _obey(self, signal: Signal) -> None:
        self._end(signal)
        if signal is Signal.HALF_CLOSE:
            self._transport.write_eof()
            return
        if signal is Signal.RESET:
            _reset_on_close(self._transport)
            self._transport.abort()
            return
        self._transport.close()

    def _end(self, signal: Signal | None) -> None:
        """Answer nothing more on this connection."""
        self._is_over = True
        self._waiting.clear()
        if self._timer is not None:
            self._timer.cancel()
        play, self._play = self._play, None
        if play is None or play.attempt is None:
            return
        if signal is Signal.CLOSE and play.completes:
            play.attempt.complete()
        else:
            play.attempt.abandon()


def _reset_on_close(transport: asyncio.Transport) -> None:
    """Make the kernel send RST in place of FIN. A duplicate takes the option: the loop's own socket object may not."""
    number = transport.get_extra_info("socket").fileno()
    with socket.socket(fileno=socket.dup(number)) as duplicate:
        duplicate.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
