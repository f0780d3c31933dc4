"""The upstream HTTP/1.1 client: a keep-alive pool per origin, with clocks, limits, backpressure and cancellation.

It follows no redirect, decodes no content encoding and reuses a connection only after a complete answer.
"""

import asyncio
import ssl
import time
from collections import deque

import httptools
from msgspec import Struct

from dujiang.core.errors import StaleConnection, Timeout, Unavailable, UpstreamError
from dujiang.providers.connect import Dialer

monotonic = time.monotonic

_NEVER = float("inf")
_SLOW_READER_S = 1.0
_STALE_S = 1.0
"""How soon a service that had closed an idle connection shows it. Later, it may have been working on the request."""
_HEAD, _DATA, _END = 0, 1, 2


class WireLimits(Struct, frozen=True):
    """What an upstream may send. Sizes are bytes; `keep_alive_s` is how long an idle connection is kept."""

    head_bytes: int = 64 * 1024
    header_fields: int = 200
    body_bytes: int = 32 * 1024 * 1024
    buffered_bytes: int = 64 * 1024
    keep_alive_s: float = 30.0
    connections: int = 10_000


class Exchange(asyncio.Protocol):
    """One connection, and the one exchange that is running on it.

    After `Pool.send` the caller awaits `head()` or `body()`, or pulls `read()` until `b""`, and always ends with
    `release()`. `expect()` sets the moment by which progress must have been made; when it passes, whoever waits gets a
    `Timeout` and the connection is closed. While nobody waits, our own reader is the slow one, with its own limit.
    """

    __slots__ = (
        "_buffered",
        "_error",
        "_field_bytes",
        "_head_bytes",
        "_is_busy",
        "_is_closed",
        "_is_complete",
        "_is_informational",
        "_is_paused",
        "_is_until_close",
        "_keeps_alive",
        "_loop",
        "_parser",
        "_parts",
        "_pool",
        "_timer",
        "_timer_at",
        "_transport",
        "_waiter",
        "_wants",
        "due",
        "headers",
        "idle_since",
        "reused_at",
        "status",
        "waiting_for",
    )

    def __init__(self, pool: "Pool", loop: asyncio.AbstractEventLoop) -> None:
        self._pool = pool
        self._loop = loop
        self._parser = httptools.HttpResponseParser(self)
        self._transport: asyncio.Transport
        self._waiter: asyncio.Future[None] | None = None
        self._wants = _END
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = _NEVER
        self._is_busy = False
        self._is_closed = False
        self._is_paused = False
        self._is_informational = False
        self.idle_since = 0.0
        self.reused_at = -_NEVER
        self.due = _NEVER
        self.waiting_for = "its answer"
        self._reset()

    def _reset(self) -> None:
        self.status = 0
        self.headers: list[tuple[bytes, bytes]] = []
        self._parts: list[bytes] = []
        self._buffered = 0
        self._head_bytes = 0
        self._field_bytes = 0
        self._error: UpstreamError | None = None
        self._is_complete = False
        self._is_until_close = False
        self._keeps_alive = False

    # what the caller does

    def begin(self, payload: bytes) -> None:
        self._reset()
        self._is_busy = True
        self._transport.write(payload)

    def expect(self, due: float, what: str) -> None:
        """Fail with a `Timeout` that names `what` unless it is called again, or released, before `due` (monotonic)."""
        self.due = due
        self.waiting_for = what
        if due < self._timer_at:
            self._arm(due)

    async def head(self) -> int:
        """The status, once the head of the answer is there; `headers` are then set, names in lower case."""
        if self.status == 0 or self._is_informational:
            await self._wait(_HEAD)
        self._wants = _DATA
        return self.status

    async def body(self) -> bytes:
        """The whole body, once it is there."""
        if not self._is_complete:
            self._resume()
            await self._wait(_END)
        parts = self._parts
        return parts[0] if len(parts) == 1 else b"".join(parts)

    async def read(self) -> bytes:
        """The bytes that arrived since the last call, or those that come next; `b""` after the last."""
        if not self._parts and not self._is_complete:
            await self._wait(_DATA)
        parts = self._parts
        if not parts:
            return b""
        data = parts[0] if len(parts) == 1 else b"".join(parts)
        self._parts = []
        self._buffered = 0
        self._resume()
        return data

    def header(self, name: bytes) -> bytes | None:
        for key, value in self.headers:
            if key == name:
                return value
        return None

    def release(self) -> None:
        """Give the connection back, or close it if its answer was not read to the end. Idempotent."""
        if not self._is_busy:
            return
        self._is_busy = False
        self.due = _NEVER
        if self._is_complete and self._keeps_alive and not self._is_closed:
            self._pool.put(self)
        else:
            self.abort()

    def abort(self) -> None:
        if not self._is_closed:
            self._transport.abort()

    @property
    def is_usable(self) -> bool:
        return not self._is_closed and not self._transport.is_closing()

    # waiting

    async def _wait(self, wants: int) -> None:
        if self._error is not None:
            raise self._error
        self._wants = wants
        self._waiter = self._loop.create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def _resume(self) -> None:
        if self._is_paused:
            self._is_paused = False
            self._transport.resume_reading()

    def _wake(self) -> None:
        waiter = self._waiter
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    def _fail(self, error: UpstreamError) -> None:
        if self._is_complete or self._error is not None:
            return
        self._error = error
        waiter = self._waiter
        if waiter is not None and not waiter.done():
            waiter.set_exception(error)

    def _reject(self, message: str) -> None:
        self._fail(UpstreamError(f"The model's service {message}.", reason="bad_answer"))
        self.abort()

    def _arm(self, due: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer_at = due
        self._timer = self._loop.call_later(max(0.0, due - monotonic()), self._tick)

    def _tick(self) -> None:
        self._timer = None
        self._timer_at = _NEVER
        if self.due == _NEVER:
            return
        now = monotonic()
        if now < self.due:
            self._arm(self.due)
            return
        if self._waiter is None:
            self._arm(now + _SLOW_READER_S)
            return
        self._fail(Timeout(f"The model's service did not send {self.waiting_for} in time.", reason=self.waiting_for))
        self.abort()

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # pyright: ignore[reportAttributeAccessIssue]

    def data_received(self, data: bytes) -> None:
        if not self._is_busy:
            self.abort()
            return
        self._head_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self._reject("sent something that is not HTTP")
            return
        if self._head_bytes > self._pool.limits.head_bytes:
            self._reject("sent too long a head")

    def connection_lost(self, exc: Exception | None) -> None:
        self._is_closed = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._pool.forget(self)
        if not self._is_busy or self._is_complete:
            return
        if self._is_until_close and exc is None:
            self._is_complete = True
            self._wake()
        elif self.status == 0 and self._head_bytes == 0 and monotonic() - self.reused_at < _STALE_S:
            self._pool.drop_idle()
            self._fail(StaleConnection("An idle connection to the model's service had been closed."))
        else:
            what = "broke off its answer" if self.status else "closed the connection without an answer"
            self._fail(
                Unavailable(f"The model's service {what}.", reason="connection_lost" if self.status else "no_answer")
            )

    # httptools

    def on_message_begin(self) -> None:
        if self._is_complete:
            self._keeps_alive = False

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._is_complete or self.status:
            return  # of the next answer, or a trailer
        self.headers.append((name.lower(), value))
        self._field_bytes += len(name) + len(value)
        limits = self._pool.limits
        if len(self.headers) > limits.header_fields or self._field_bytes > limits.head_bytes:
            self._reject("sent too long a head")

    def on_headers_complete(self) -> None:
        if self._is_complete:
            return
        status = self._parser.get_status_code()
        self._is_informational = 100 <= status < 200
        if self._is_informational:
            self.headers = []
            return
        self.status = status
        self._head_bytes = 0
        self._keeps_alive = self._parser.should_keep_alive()
        if not self._keeps_alive:
            names = {name for name, _ in self.headers}
            self._is_until_close = b"content-length" not in names and b"transfer-encoding" not in names
        if self._wants == _HEAD:
            self._wake()

    def on_body(self, body: bytes) -> None:
        if self._is_complete:
            return
        self._head_bytes = 0
        self._parts.append(body)
        self._buffered += len(body)
        if self._wants == _DATA:
            self._wake()
            if self._buffered > self._pool.limits.buffered_bytes and not self._is_paused:
                self._is_paused = True
                self._transport.pause_reading()
        elif self._buffered > self._pool.limits.body_bytes:
            self._reject("sent too large an answer")

    def on_message_complete(self) -> None:
        if self._is_informational:
            self._is_informational = False
            return
        if self._is_complete or self._error is not None:
            return
        self._is_complete = True
        self._wake()


class Pool:
    """Keep-alive connections to one origin, the most recently used first."""

    def __init__(self, dialer: Dialer, limits: WireLimits = WireLimits()) -> None:
        self._dialer = dialer
        self._idle: deque[Exchange] = deque()
        self._open: set[Exchange] = set()
        self._is_closed = False
        self.limits = limits

    async def send(self, payload: bytes, connect_s: float, due: float, what: str) -> Exchange:
        """Write a request and return the exchange that its answer will come on.

        `due` is the monotonic time by which `what` must have come. Raises `Unavailable` when nothing listens there,
        `Timeout` when connecting takes longer than `connect_s`, `Misconfigured` for a forbidden address.
        """
        exchange = self._take()
        if exchange is None:
            exchange = await self._dial(min(connect_s, due - monotonic()))
        exchange.begin(payload)
        exchange.expect(due, what)
        return exchange

    def put(self, exchange: Exchange) -> None:
        now = monotonic()
        exchange.idle_since = now
        idle = self._idle
        if self._is_closed:
            exchange.abort()
            return
        idle.append(exchange)
        while idle and (not idle[0].is_usable or now - idle[0].idle_since > self.limits.keep_alive_s):
            idle.popleft().abort()

    def forget(self, exchange: Exchange) -> None:
        self._open.discard(exchange)

    def drop_idle(self) -> None:
        while self._idle:
            self._idle.pop().abort()

    def close(self) -> None:
        """Close what is idle; connections in use close when they are released."""
        self._is_closed = True
        self.drop_idle()

    def _take(self) -> Exchange | None:
        idle = self._idle
        now = monotonic()
        while idle:
            exchange = idle.pop()
            if exchange.is_usable and now - exchange.idle_since <= self.limits.keep_alive_s:
                exchange.reused_at = now
                return exchange
            exchange.abort()
        return None

    async def _dial(self, timeout_s: float) -> Exchange:
        if len(self._open) >= self.limits.connections:
            raise Unavailable("Too many connections to the model's service are open.", reason="connections")
        exchange = Exchange(self, asyncio.get_running_loop())
        self._open.add(exchange)
        is_connected = False
        try:
            async with asyncio.timeout(timeout_s):
                await self._dialer.connect(exchange)
            is_connected = True
        except TimeoutError as error:
            raise Timeout("Connecting to the model's service took too long.", reason="connect") from error
        except ssl.SSLError as error:
            raise Unavailable("The model's service cannot prove over TLS who it is.", reason="tls") from error
        except (OSError, UnicodeError) as error:
            raise Unavailable("The model's service does not accept connections.", reason="connect") from error
        finally:
            if not is_connected:
                self.forget(exchange)
        return exchange
