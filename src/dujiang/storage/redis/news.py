"""News from one process to all: a connection of its own that listens."""

import asyncio
import logging
from collections.abc import Callable
from typing import Final, cast

from redis.asyncio.connection import AbstractConnection
from redis.exceptions import RedisError

from dujiang.storage.redis.address import CONNECT_S, NewConnection
from dujiang.storage.redis.link import PROBE_S
from dujiang.storage.redis.scripts import PREFIX

NEWS: Final = f"{PREFIX}news:"
"""How every channel begins."""

_PING_S = 10.0

_log = logging.getLogger(__name__)


class News:
    """Listens while `listen()` runs."""

    def __init__(self, new_connection: NewConnection) -> None:
        self._new_connection = new_connection
        self._listeners: dict[str, list[Callable[[bytes], None]]] = {}
        self.is_listening = False

    def subscribe(self, channel: str, on_message: Callable[[bytes], None]) -> None:
        self._listeners.setdefault(channel, []).append(on_message)

    def deliver(self, channel: str, message: bytes) -> None:
        """Tell who listens in this process. One that fails does not keep the news from the others."""
        for listener in self._listeners.get(channel, ()):
            try:
                listener(message)
            except Exception:  # noqa: BLE001 a listener's mistake is its own
                _log.exception("a listener to %s failed", channel)

    def clear(self) -> None:
        self._listeners.clear()

    async def listen(self) -> None:
        """Connect, and connect again, until cancelled."""
        while True:
            connection = self._new_connection()
            try:
                async with asyncio.timeout(CONNECT_S):
                    await connection.connect()
                    await connection.send_command("PSUBSCRIBE", f"{NEWS}*")
                    await connection.read_response()
                self.is_listening = True
                await self._receive(connection)
            except (RedisError, OSError, TimeoutError):
                self.is_listening = False
                await asyncio.sleep(PROBE_S)
            finally:
                await connection.disconnect(nowait=True)

    async def _receive(self, connection: AbstractConnection) -> None:
        """Raises what ends the connection: silence too, after a question."""
        is_asked = False
        while True:
            try:
                async with asyncio.timeout(_PING_S):
                    news = cast("list[bytes]", await connection.read_response(disconnect_on_error=False))
            except TimeoutError:
                if is_asked:
                    raise
                is_asked = True
                await connection.send_command("PING")
                continue
            is_asked = False
            if news[0] == b"pmessage":
                _, _, channel, message = news
                self.deliver(channel.decode().removeprefix(NEWS), message)
