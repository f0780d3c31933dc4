"""Alerts: told in the log, and sent to whoever the operator named, signed and again until they arrive."""

import asyncio
import hmac
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from hashlib import sha256
from time import monotonic, time
from typing import Any, Protocol

import msgspec
from msgspec import Struct

from dujiang import __version__
from dujiang.core.errors import AppError
from dujiang.core.ids import new_id
from dujiang.core.secret import Secret

MAX_WAITING = 1000
PATIENCE_S = 300.0
"""How long an alert is tried for. Each is tried once at least, however long it waited for others."""

ATTEMPT_S = 10.0
SIGNATURE = "X-Dujiang-Signature"

_FIRST_DELAY_S, _LONGEST_DELAY_S = 1.0, 60.0
_LAST_S = 3.0
"""At the end of the process, for what still waits."""

_log = logging.getLogger(__name__)


class Receiver(Struct, frozen=True):
    """Where alerts go. They are signed where there is a secret."""

    url: str
    secret: Secret
    allow_private_network: bool = False


class Post(Protocol):
    """Sends a body; the status of the answer. Raises an `AppError` where none comes."""

    async def __call__(
        self, url: str, fields: Mapping[str, str], body: bytes, *, allow_private_network: bool, timeout_s: float
    ) -> int: ...


Find = Callable[[], Awaitable[Receiver | None]]
"""The receiver at present, None for none. Raises an `AppError` where it cannot be told."""


class _Alert(Struct, frozen=True):
    """`until` is when it is given up, on the monotonic clock."""

    kind: str
    id: str
    body: bytes
    until: float


class Alerts:
    """A queue of alerts, and what empties it, one after the other."""

    def __init__(self, find: Find, post: Post, *, patience_s: float = PATIENCE_S, limit: int = MAX_WAITING) -> None:
        self._find = find
        self._post = post
        self._patience_s = patience_s
        self._queue: asyncio.Queue[_Alert] = asyncio.Queue(limit)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._waiting = 0
        self.dropped = 0
        """Those for which the queue had no place."""

    def send(self, kind: str, facts: Mapping[str, Any]) -> None:
        """Tell of something, from any thread. Never waits, never raises."""
        id, at = new_id(), datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
        body = msgspec.json.encode({"type": kind, "id": id, "at": at, **facts})
        _log.warning("alert %s", body.decode())
        if self._loop is not None:
            with suppress(RuntimeError):  # the loop is closed: the process ends
                self._loop.call_soon_threadsafe(self._put, _Alert(kind, id, body, monotonic() + self._patience_s))

    @asynccontextmanager
    async def delivering(self) -> AsyncGenerator[None]:
        """Deliver what is sent meanwhile, and at the end, for a moment, what still waits."""
        self._loop = asyncio.get_running_loop()
        task = asyncio.create_task(self._deliver_all(), name="deliver alerts")
        try:
            yield
        finally:
            await asyncio.sleep(0)  # what other threads sent takes its place in the queue
            self._loop = None
            with suppress(TimeoutError):
                async with asyncio.timeout(_LAST_S):
                    await self._queue.join()
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
            if self._waiting:
                _log.warning("%d alerts were not delivered before the end", self._waiting)

    def _put(self, alert: _Alert) -> None:
        try:
            self._queue.put_nowait(alert)
            self._waiting += 1
        except asyncio.QueueFull:
            self.dropped += 1
            _log.error("too many alerts wait: %s %s is not sent, the %dth", alert.kind, alert.id, self.dropped)

    async def _deliver_all(self) -> None:
        while True:
            alert = await self._queue.get()
            try:
                await self._deliver(alert)
            except Exception:  # noqa: BLE001 whatever is wrong with one alert, the next is sent
                _log.exception("the alert %s %s could not be sent", alert.kind, alert.id)
            finally:
                self._queue.task_done()
            self._waiting -= 1

    async def _deliver(self, alert: _Alert) -> None:
        delay_s = _FIRST_DELAY_S
        while (reason := await self._refusal(alert)) is not None:
            if monotonic() + delay_s > alert.until:
                _log.error("the alert %s %s was not delivered and is given up: %s", alert.kind, alert.id, reason)
                return
            await asyncio.sleep(delay_s)
            delay_s = min(2 * delay_s, _LONGEST_DELAY_S)

    async def _refusal(self, alert: _Alert) -> str | None:
        """Why an alert was not taken; None where it was, or where nobody wants any."""
        try:
            receiver = await self._find()
            if receiver is None:
                return None
            status = await self._post(
                receiver.url,
                _fields(receiver.secret, alert.body),
                alert.body,
                allow_private_network=receiver.allow_private_network,
                timeout_s=ATTEMPT_S,
            )
        except AppError as error:
            return error.message
        return None if 200 <= status < 300 else f"its receiver answered {status}"


def _fields(secret: Secret, body: bytes) -> dict[str, str]:
    fields = {"Content-Type": "application/json", "User-Agent": f"dujiang/{__version__}", "Connection": "close"}
    return fields | {SIGNATURE: signature(secret, body, int(time()))} if secret else fields


def signature(secret: Secret, body: bytes, at_s: int) -> str:
    """`t=<Unix seconds>,v1=<hex HMAC-SHA256 of "t.body">`: whoever gets it can tell that we sent it, and when."""
    digest = hmac.new(secret.reveal().encode(), b"%d.%b" % (at_s, body), sha256).hexdigest()
    return f"t={at_s},v1={digest}"
