"""One request and its response: the `receive` and `send` of ASGI (HTTP spec 2.3) on a connection."""

import asyncio
from collections.abc import MutableMapping
from http import HTTPStatus
from typing import Any, Protocol

Message = MutableMapping[str, Any]

STATUS_LINES = {status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode() for status in HTTPStatus}

_GONE: Message = {"type": "http.disconnect"}
_BODYLESS = frozenset({204, 304})
_END_OF_HEAD = {
    (True, False): b"\r\n",
    (True, True): b"connection: keep-alive\r\n\r\n",  # HTTP/1.0 goes on only where it is told so
    (False, False): b"connection: close\r\n\r\n",
    (False, True): b"connection: close\r\n\r\n",
}


class Line(Protocol):
    """What an exchange needs of its connection."""

    date: bytes
    """The `date` field of this second, as a line."""

    def write(self, data: bytes) -> None: ...

    async def drain(self) -> None:
        """Wait while the peer leaves too much unread."""

    def resume_reading(self) -> None: ...

    def finish(self, exchange: "Exchange") -> None:
        """The response is complete."""


class Exchange:
    """The application's end of one request. The connection feeds it; responses leave in as few writes as they can.

    A response whose first body message is its last gets a `content-length`; any other is chunked.
    """

    __slots__ = (
        "_fields",
        "_has_read_all",
        "_is_chunked",
        "_is_head_only",
        "_line",
        "_parts",
        "_status",
        "_waiter",
        "has_body_to_come",
        "is_gone",
        "is_http_1_0",
        "is_over",
        "keeps_alive",
        "scope",
        "unread_bytes",
        "waits_for_continue",
    )

    def __init__(self, line: Line, scope: dict[str, Any], *, keeps_alive: bool, is_http_1_0: bool) -> None:
        self._line = line
        self._parts: list[bytes] = []
        self._waiter: asyncio.Future[None] | None = None
        self._status = 0
        self._fields: list[tuple[bytes, bytes]] | None = None
        self._is_chunked = False
        self._is_head_only = False
        self._has_read_all = False
        self.scope = scope
        self.unread_bytes = 0
        self.has_body_to_come = True
        self.waits_for_continue = False
        self.is_http_1_0 = is_http_1_0
        self.keeps_alive = keeps_alive
        self.is_over = False
        self.is_gone = False

    # the connection's side

    @property
    def is_started(self) -> bool:
        """Whether any byte of the response has been written."""
        return self._status != 0 and self._fields is None

    def feed(self, data: bytes) -> None:
        self._parts.append(data)
        self.unread_bytes += len(data)
        self._wake()

    def end_body(self) -> None:
        self.has_body_to_come = False
        self._wake()

    def disconnect(self) -> None:
        self.is_gone = True
        self._wake()

    def _wake(self) -> None:
        waiter = self._waiter
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    # the application's side

    async def receive(self) -> Message:
        """The next part of the body; after the last, the peer's end."""
        if self.waits_for_continue:
            self.waits_for_continue = False
            self._line.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        while (
            not self.is_gone and not self.is_over and not self._parts and (self.has_body_to_come or self._has_read_all)
        ):
            await self._wait()
        if self.is_gone or self.is_over:
            return _GONE
        parts = self._parts
        body = parts[0] if len(parts) == 1 else b"".join(parts)
        self._parts = []
        self.unread_bytes = 0
        self._has_read_all = not self.has_body_to_come
        return {"type": "http.request", "body": body, "more_body": self.has_body_to_come}

    async def _wait(self) -> None:
        self._line.resume_reading()
        self._waiter = asyncio.get_running_loop().create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    async def send(self, message: Message) -> None:
        """Take a response's head, or write a part of its body. Waits while the peer does not read."""
        if message["type"] == "http.response.start":
            if self.is_started:
                raise RuntimeError("the response has been started already")
            self._status = message["status"]
            self._fields = message.get("headers", [])
            return
        await self._line.drain()
        if self.is_gone or self.is_over:
            return
        body: bytes = message.get("body", b"")
        has_more: bool = message.get("more_body", False)
        if self._fields is not None:
            data = self._open(body, self._fields, has_more=has_more)
            self._fields = None
        elif self._is_head_only:
            data = b""
        elif self._is_chunked:
            data = _chunk(body, has_more=has_more)
        else:
            data = body
        if data:
            self._line.write(data)
        if not has_more:
            self.is_over = True
            self._line.finish(self)

    def _open(self, body: bytes, fields: list[tuple[bytes, bytes]], *, has_more: bool) -> bytes:
        """The head of the response, and with it its first part."""
        lines = [STATUS_LINES[self._status], self._line.date]
        has_length = False
        for name, value in fields:
            if b"\n" in value or b"\r" in value:
                raise ValueError(f"the value of {name!r} would start another line")
            if name == b"content-length":
                has_length = True
            elif name == b"connection" and value.lower() == b"close":
                self.keeps_alive = False
                continue
            lines += (name, b": ", value, b"\r\n")
        self._is_head_only = self.scope["method"] == "HEAD" or self._status in _BODYLESS
        if not has_length and self._status not in _BODYLESS:
            if not has_more:
                lines.append(b"content-length: %d\r\n" % len(body))
            elif self.is_http_1_0:
                self.keeps_alive = False
            else:
                self._is_chunked = True
                lines.append(b"transfer-encoding: chunked\r\n")
        lines.append(_END_OF_HEAD[self.keeps_alive, self.is_http_1_0])
        if not self._is_head_only:
            lines.append(_chunk(body, has_more=has_more) if self._is_chunked else body)
        return b"".join(lines)


def _chunk(body: bytes, *, has_more: bool) -> bytes:
    if has_more:
        return b"%x\r\n%b\r\n" % (len(body), body) if body else b""
    return b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body) if body else b"0\r\n\r\n"
