"""The HTTP server: uvicorn's protocol, hardened against slow, silent and oversized peers, and our own drain."""

import asyncio
import socket
from collections.abc import Callable
from email.utils import formatdate
from time import monotonic, time
from typing import Any

from msgspec import Struct
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol
from uvicorn.server import ServerState

SWEEP_S = 0.5
_REFUSAL = b"content-length: 0\r\nconnection: close\r\n\r\n"


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


class Peer(HttpToolsProtocol):
    """One connection of a caller. `on_gone` is called when it closes; a call sets it while it is being answered.

    No timer per call: `sweep` looks at every connection twice a second.
    """

    limits = PeerLimits()

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.on_gone: Callable[[], object] | None = None
        self._head_bytes = 0
        self._is_in_head = True
        self._since = monotonic()
        self._paused_at: float | None = None

    def data_received(self, data: bytes) -> None:
        if self._is_in_head:
            self._head_bytes += len(data)
        super().data_received(data)
        if self._is_in_head and self._head_bytes > self.limits.head_bytes:
            self.send_400_response("head too large")

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.scope["peer"] = self  # pyright: ignore[reportGeneralTypeIssues]
        self._since = monotonic()

    def on_header(self, name: bytes, value: bytes) -> None:
        if len(self.headers) >= self.limits.header_fields:
            raise ValueError("too many header fields")
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self._is_in_head = False
        self._head_bytes = 0
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        self._is_in_head = True
        super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        """Answer what is not a proper request, and close. uvicorn calls it for every error of its parser."""
        if not self.transport.is_closing():
            self.transport.write(STATUS_LINE[400] + _REFUSAL)
            self.transport.close()

    def on_response_complete(self) -> None:
        self.server_state.total_requests += 1
        self._since = monotonic()
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        if self.pipeline:
            cycle, app = self.pipeline.pop()
            self._start_asgi_task(cycle, app)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._paused_at = monotonic()

    def resume_writing(self) -> None:
        super().resume_writing()
        self._paused_at = None

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        if self.on_gone is not None:
            self.on_gone()

    def sweep(self, now: float) -> None:
        """Close the connection if its peer has kept us waiting too long."""
        limits = self.limits
        if self._paused_at is not None:
            if now - self._paused_at > limits.write_s:
                self.transport.abort()
            return
        cycle = self.cycle
        waited_s = now - self._since
        if cycle is not None and not cycle.response_complete:
            if cycle.more_body and waited_s > limits.body_s:
                self.transport.abort()
        elif waited_s > (limits.head_s if self._head_bytes or cycle is None else limits.keep_alive_s):
            self.transport.abort()


class Server:
    """Serves an ASGI application on a bound socket until `drain` ends it."""

    def __init__(self, app: Any, listener: socket.socket) -> None:
        self._config = Config(app, lifespan="off", access_log=False, log_config=None, ws="none", proxy_headers=False)
        self._config.load()
        self._state = ServerState()
        self._listener = listener
        self._sweeper: asyncio.Task[None] | None = None
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        loop = asyncio.get_running_loop()
        self._tick()
        self._server = await loop.create_server(
            lambda: Peer(self._config, self._state, {}, loop), sock=self._listener, backlog=4096
        )
        self._sweeper = loop.create_task(self._sweep(), name="sweep connections")

    async def stop_accepting(self) -> None:
        """Refuse new connections and close idle ones; running answers go on."""
        if self._server is not None:
            self._server.close()
        for peer in list(self._state.connections):
            peer.shutdown()

    async def close(self) -> None:
        """Close every connection and wait until the last task has ended."""
        if self._sweeper is not None:
            self._sweeper.cancel()
        for peer in list(self._state.connections):
            peer.transport.close()
        for task in list(self._state.tasks):
            task.cancel()
        await asyncio.gather(*self._state.tasks, return_exceptions=True)

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(SWEEP_S)
            self._tick()
            now = monotonic()
            for peer in list(self._state.connections):
                peer.sweep(now)

    def _tick(self) -> None:
        self._state.default_headers = [(b"date", formatdate(time(), usegmt=True).encode())]
