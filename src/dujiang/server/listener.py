"""Accepting connections, looking after them, and letting them go."""

import asyncio
import socket
from email.utils import formatdate
from time import monotonic, time

from dujiang.server.peer import Application, Peer, PeerLimits

SWEEP_S = 0.5


class Server:
    """Serves an ASGI application on a bound socket."""

    def __init__(self, app: Application, listener: socket.socket, limits: PeerLimits = PeerLimits()) -> None:
        self._app = app
        self._listener = listener
        self._limits = limits
        self._connections: set[Peer] = set()
        self._date = b""
        self._server: asyncio.Server | None = None
        self._sweeper: asyncio.Task[None] | None = None

    async def start(self) -> None:
        loop = asyncio.get_running_loop()
        self._tell_date()
        self._server = await loop.create_server(
            lambda: Peer(self._app, self._connections, self._limits, self._date, loop),
            sock=self._listener,
            backlog=4096,
        )
        self._sweeper = loop.create_task(self._sweep(), name="sweep connections")

    def stop_accepting(self) -> None:
        """Refuse new connections and close idle ones; running answers go on."""
        if self._server is not None:
            self._server.close()
        for peer in list(self._connections):
            peer.stop()

    async def close(self) -> None:
        """Give what was written a moment to leave, then close everything and wait for the last task."""
        tasks = [peer.task for peer in self._connections]
        for task in tasks:
            if task is not None:
                task.cancel()
        await asyncio.gather(*(task for task in tasks if task is not None), return_exceptions=True)
        await self._flush()
        for peer in list(self._connections):
            peer.abort()
        if self._sweeper is not None:
            self._sweeper.cancel()

    async def _flush(self, timeout_s: float = 1.0) -> None:
        end = monotonic() + timeout_s
        while self._connections and monotonic() < end:
            for peer in list(self._connections):
                peer.stop()
            await asyncio.sleep(0.02)

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(SWEEP_S)
            self._tell_date()
            now = monotonic()
            for peer in list(self._connections):
                peer.date = self._date
                peer.sweep(now)

    def _tell_date(self) -> None:
        self._date = b"date: %b\r\n" % formatdate(time(), usegmt=True).encode("ascii")
