"""One connection of a caller: HTTP/1.1 by httptools, one exchange after another, within limits."""

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable
from time import monotonic
from typing import Any
from urllib.parse import unquote

import httptools
from msgspec import Struct

from dujiang.server.exchange import STATUS_LINES, Exchange

_log = logging.getLogger(__name__)

_ASGI = {"version": "3.0", "spec_version": "2.3"}
_UNREAD_BYTES = 64 * 1024
_LINGER_S = 5.0

Application = Callable[[Any, Any, Any], Awaitable[None]]


class PeerLimits(Struct, frozen=True):
    """What a peer may do: bytes and fields of a request's head; seconds for a head, a body, and between two requests;
    seconds that it may leave what we write unread. The defaults are in the order of nginx's.
    """

    head_bytes: int = 32 * 1024
    header_fields: int = 100
    head_s: float = 10.0
    body_s: float = 120.0
    write_s: float = 30.0
    keep_alive_s: float = 60.0


class BadRequest(Exception):
    """Raised in the parser's callbacks to refuse a request; httptools then stops."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


class Peer(asyncio.Protocol):
    """`on_gone` is called when the peer leaves; a call sets it while it is being answered.

    There is no timer per call: `sweep` looks at every connection twice a second.
    """

    __slots__ = (
        "_app",
        "_client",
        "_connections",
        "_drained",
        "_exchange",
        "_fields",
        "_head_bytes",
        "_is_in_head",
        "_is_lingering",
        "_is_reading_paused",
        "_is_writing_paused",
        "_limits",
        "_loop",
        "_parser",
        "_queue",
        "_refusal",
        "_server",
        "_since",
        "_task",
        "_transport",
        "_url",
        "date",
        "on_gone",
    )

    def __init__(
        self,
        app: Application,
        connections: "set[Peer]",
        limits: PeerLimits,
        date: bytes,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self._app = app
        self._connections = connections
        self._limits = limits
        self._loop = loop
        self._parser = httptools.HttpRequestParser(self)
        self._exchange: Exchange | None = None
        self._queue: deque[Exchange] = deque()
        self._task: asyncio.Task[None] | None = None
        self._drained: asyncio.Future[None] | None = None
        self._fields: list[tuple[bytes, bytes]] = []
        self._url = b""
        self._head_bytes = 0  # also of trailers and chunk sizes: whatever came since the last part of a body
        self._refusal = 0
        self._is_in_head = True
        self._is_lingering = False
        self._is_reading_paused = False
        self._is_writing_paused = False
        self._since = monotonic()
        self.date = date
        self.on_gone: Callable[[], object] | None = None

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: asyncio.Transport = transport  # pyright: ignore[reportAttributeAccessIssue]
        self._server = transport.get_extra_info("sockname")
        self._client = transport.get_extra_info("peername")
        self._connections.add(self)

    def data_received(self, data: bytes) -> None:
        if self._is_lingering or self._refusal:
            return
        self._head_bytes += len(data)
        try:
            self._feed(data)
        except httptools.HttpParserCallbackError as error:
            cause = error.__context__ or error.__cause__
            self._refuse(cause.status if isinstance(cause, BadRequest) else 400)
        except httptools.HttpParserError:
            self._refuse(400)
        else:
            if self._head_bytes > self._limits.head_bytes:
                self._refuse(431)

    def _feed(self, data: bytes) -> None:
        while True:
            try:
                self._parser.feed_data(data)
            except httptools.HttpParserUpgrade as offer:
                data = self._without_offer() + data[offer.args[0] :]
                self._parser = httptools.HttpRequestParser(self)
            else:
                return

    def _without_offer(self) -> bytes:
        """The head just read without its offer of another protocol, which we ignore (RFC 9110 §7.8).

        The parser would leave the body to that protocol. Java's client offers h2c with every first request.
        """
        parser = self._parser
        lines = [b"%b %b HTTP/%b" % (parser.get_method(), self._url, parser.get_http_version().encode())]
        for name, value in self._fields:
            if name == b"connection":
                lines.append(b"connection: close" if b"close" in value.lower() else b"connection: keep-alive")
            elif name != b"upgrade":
                lines.append(name + b": " + value)
        return b"\r\n".join([*lines, b"", b""])

    def eof_received(self) -> bool:
        return False

    def pause_writing(self) -> None:
        self._is_writing_paused = True
        self._since = monotonic()
        self._drained = self._loop.create_future()

    def resume_writing(self) -> None:
        self._is_writing_paused = False
        self._since = monotonic()
        if self._drained is not None and not self._drained.done():
            self._drained.set_result(None)

    def connection_lost(self, exc: Exception | None) -> None:
        self._connections.discard(self)
        if self._drained is not None and not self._drained.done():
            self._drained.set_result(None)
        if self._exchange is not None:
            self._exchange.disconnect()
        self._queue.clear()
        if self.on_gone is not None:
            self.on_gone()

    # httptools

    def on_message_begin(self) -> None:
        self._fields = []
        self._url = b""
        self._since = monotonic()

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._is_in_head:
            return  # RFC 9110 §6.5.1: a trailer is no header
        if len(self._fields) >= self._limits.header_fields:
            raise BadRequest(431)
        self._fields.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        parser = self._parser
        if parser.should_upgrade():
            if parser.get_method() == b"CONNECT":
                raise BadRequest(400)
            return
        if self._head_bytes > self._limits.head_bytes and self._size_of_head() > self._limits.head_bytes:
            raise BadRequest(431)
        self._is_in_head = False
        self._head_bytes = 0
        version = parser.get_http_version()
        exchange = Exchange(
            self, self._scope(version), keeps_alive=parser.should_keep_alive(), is_http_1_0=version == "1.0"
        )
        hosts = 0
        for name, value in self._fields:
            if name == b"host":
                hosts += 1
            elif name == b"expect" and value.lower() == b"100-continue":
                exchange.waits_for_continue = True
        if hosts != 1 and (hosts or version == "1.1"):
            raise BadRequest(400)
        if version != "1.1" and any(name == b"transfer-encoding" for name, _ in self._fields):
            raise BadRequest(400)  # RFC 9112 §6.1: its framing cannot be trusted
        if self._exchange is None:
            self._start(exchange)
        else:
            self._queue.append(exchange)
            self.pause_reading()

    def _size_of_head(self) -> int:
        return len(self._url) + sum(len(name) + len(value) for name, value in self._fields)

    def on_body(self, body: bytes) -> None:
        self._head_bytes = 0
        exchange = self._newest()
        if not exchange.is_over:
            exchange.feed(body)
            if exchange.unread_bytes > _UNREAD_BYTES:
                self.pause_reading()

    def on_message_complete(self) -> None:
        if self._is_in_head:
            return
        self._is_in_head = True
        self._head_bytes = 0
        self._newest().end_body()

    def _newest(self) -> Exchange:
        exchange = self._queue[-1] if self._queue else self._exchange
        if exchange is None:
            raise BadRequest(400)
        return exchange

    def _scope(self, version: str) -> dict[str, Any]:
        raw_path, _, query = self._url.partition(b"?")
        if not raw_path.startswith(b"/"):
            raw_path = httptools.parse_url(self._url).path or b"/"
        if not raw_path.isascii():
            raise BadRequest(400)
        path = raw_path.decode("ascii")
        return {
            "type": "http",
            "asgi": _ASGI,
            "http_version": version,
            "method": self._parser.get_method().decode("ascii"),
            "scheme": "http",
            "path": unquote(path) if "%" in path else path,
            "raw_path": raw_path,
            "query_string": query,
            "root_path": "",
            "headers": self._fields,
            "server": self._server,
            "client": self._client,
            "peer": self,
        }

    # exchanges

    def _start(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self._task = self._loop.create_task(self._run(exchange))

    async def _run(self, exchange: Exchange) -> None:
        try:
            await self._app(exchange.scope, exchange.receive, exchange.send)
        except Exception:  # noqa: BLE001 - the last line of defence: a bug costs its own request, not the process
            _log.exception("the application failed on %s", exchange.scope["path"])
        if not exchange.is_over and not exchange.is_gone:
            if exchange.is_started:
                self._transport.abort()
            else:
                self._end_with(500)

    def finish(self, exchange: Exchange) -> None:
        """Go on with the next request, or close: gently, when the peer has still a body to send."""
        self._exchange = None
        self._since = monotonic()
        if exchange.has_body_to_come:
            self._linger()
        elif not exchange.keeps_alive:
            self._transport.close()
        elif self._queue:
            self._start(self._queue.popleft())
        elif self._refusal:
            self._end_with(self._refusal)
        else:
            self.resume_reading()

    def _refuse(self, status: int) -> None:
        """Take in nothing more of what is no proper request. Its answer comes after those that are due before it."""
        self._refusal = status
        if self._queue and self._queue[-1].has_body_to_come:
            self._queue.pop()
        exchange = self._exchange
        if exchange is None:
            self._end_with(status)
        elif exchange.has_body_to_come:
            exchange.disconnect()
            self._exchange = None
            if exchange.is_started:
                self._transport.abort()
            else:
                self._end_with(status)

    def _end_with(self, status: int) -> None:
        """Answer without the application, and close."""
        if not self._transport.is_closing():
            self.write(b"%bcontent-length: 0\r\nconnection: close\r\n\r\n" % STATUS_LINES[status])
            self._linger()

    def _linger(self) -> None:
        """Close our side and discard what still comes: closing at once could reset the response on its way."""
        self._is_lingering = True
        self._since = monotonic()
        self.resume_reading()
        if not self._transport.is_closing():
            self._transport.write_eof()

    # flow

    def write(self, data: bytes) -> None:
        self._transport.write(data)

    async def drain(self) -> None:
        if self._is_writing_paused and self._drained is not None:
            await asyncio.shield(self._drained)

    def pause_reading(self) -> None:
        if not self._is_reading_paused:
            self._is_reading_paused = True
            self._transport.pause_reading()

    def resume_reading(self) -> None:
        if self._is_reading_paused and not self._queue and not self._transport.is_closing():
            self._is_reading_paused = False
            self._transport.resume_reading()

    # the server's side

    def stop(self) -> None:
        """Close once the running answer, if any, has ended."""
        if self._exchange is None:
            self._transport.close()
        else:
            self._exchange.keeps_alive = False

    def abort(self) -> None:
        self._transport.abort()

    @property
    def task(self) -> "asyncio.Task[None] | None":
        """The task of the running exchange."""
        return self._task if self._exchange is not None else None

    def sweep(self, now: float) -> None:
        """Drop a peer that has kept us waiting too long."""
        if now - self._since > self._patience_s():
            self._transport.abort()

    def _patience_s(self) -> float:
        limits = self._limits
        if self._is_lingering:
            return _LINGER_S
        if self._is_writing_paused or self._transport.is_closing():
            return limits.write_s
        exchange = self._exchange
        if exchange is not None:
            return limits.body_s if exchange.has_body_to_come else float("inf")
        if self._head_bytes:
            return limits.head_s
        return limits.keep_alive_s if self._task is not None else limits.head_s
