"""Callers with a clock: what each call met, and when."""

import asyncio
import itertools
import json
import math
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence
from typing import TypeVar

import uvloop
from callers import NATIVE, post
from gateway import ADMIN_KEY
from msgspec import Struct

T = TypeVar("T")

_PATIENCE_S = 60.0


class Heard(Struct, frozen=True):
    """A call as its caller knows it. `status` is None where the connection ended before an answer; `began_s` is of the
    monotonic clock. `first_ms` is until the answer's first byte, `took_ms` until its last.
    """

    began_s: float
    status: int | None
    first_ms: float
    took_ms: float
    retry_after_s: float | None
    body: bytes

    @property
    def is_good(self) -> bool:
        """Whether it has a whole answer: a stream may have begun well and been cut."""
        return self.status == 200 and b'"error":{' not in self.body

    @property
    def is_cut(self) -> bool:
        return self.status == 200 and not self.is_good

    @property
    def ended_s(self) -> float:
        return self.began_s + self.took_ms / 1000


def question(model: str = "m", *, stream: bool = False, key: str = ADMIN_KEY, **parameters: object) -> bytes:
    """The bytes of a call."""
    body = {"model": model, "parameters": {"prompt": "你好，世界", "stream": stream, **parameters}}
    return post(NATIVE, json.dumps(body).encode(), key=key)


class Callers:
    """Callers of one server. A connection is used again once its answer is read."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []

    async def ask(self, request: bytes) -> Heard:
        """One call, read to its end."""
        began_s = time.monotonic()
        try:
            async with asyncio.timeout(_PATIENCE_S):
                return await self._ask(request, began_s)
        except (OSError, asyncio.IncompleteReadError):
            took_ms = (time.monotonic() - began_s) * 1000
            return Heard(began_s, None, took_ms, took_ms, None, b"")

    async def _ask(self, request: bytes, began_s: float) -> Heard:
        streams = self._idle.pop() if self._idle else await asyncio.open_connection("127.0.0.1", self._port)
        reader, writer = streams
        try:
            writer.write(request)
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            first_ms = (time.monotonic() - began_s) * 1000
            body = await _body(reader, head)
        except BaseException:
            writer.close()
            raise
        self._idle.append(streams)
        took_ms = (time.monotonic() - began_s) * 1000
        wait = _field(head, b"retry-after") or b""
        retry_after_s = float(wait) if wait.isdigit() else None
        return Heard(began_s, int(head.split(b" ", 2)[1]), first_ms, took_ms, retry_after_s, body)

    async def at_rate(self, request: bytes, rate: float, seconds: float) -> list[Heard]:
        """Calls at even intervals, however long each takes: an open loop."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        tasks: list[asyncio.Task[Heard]] = []
        for n in range(int(rate * seconds)):
            await asyncio.sleep(max(0.0, began + n / rate - loop.time()))
            tasks.append(asyncio.create_task(self.ask(request)))
        return [await task for task in tasks]

    async def in_turn(self, request: bytes, callers: int, seconds: float) -> list[Heard]:
        """So many callers, each with one call after another: a closed loop."""
        until_s = time.monotonic() + seconds
        heard: list[Heard] = []

        async def caller() -> None:
            while time.monotonic() < until_s:
                heard.append(call := await self.ask(request))
                if call.status != 200:
                    await asyncio.sleep(0.02)

        await asyncio.gather(*(caller() for _ in range(callers)))
        return heard

    async def at_once(self, request: bytes, callers: int) -> list[Heard]:
        return list(await asyncio.gather(*(self.ask(request) for _ in range(callers))))

    def close(self) -> None:
        for _, writer in self._idle:
            writer.close()


def calling(port: int, play: Callable[[Callers], Coroutine[object, object, T]]) -> T:
    """Run some traffic to its end."""

    async def played() -> T:
        callers = Callers(port)
        try:
            return await play(callers)
        finally:
            callers.close()

    return uvloop.run(played())


async def watched(work: Awaitable[T], look: Callable[[], int], every_s: float = 0.005) -> tuple[T, list[float]]:
    """What `work` gives, and the moments at which the number that `look` gives was seen to grow, one for each step."""
    moments: list[float] = []
    last = look()

    async def watch() -> None:
        nonlocal last
        while True:
            now = look()
            moments.extend([time.monotonic()] * (now - last))
            last = now
            await asyncio.sleep(every_s)

    watching = asyncio.create_task(watch())
    try:
        return await work, moments
    finally:
        watching.cancel()


def quantile(values: Iterable[float], percent: float) -> float:
    """The least value that so many percent of all do not exceed; not a number where there is none."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)] if ordered else math.nan


def share(calls: Sequence[Heard]) -> float:
    """The part of some calls that was answered well."""
    return sum(call.is_good for call in calls) / len(calls) if calls else math.nan


def gaps_s(moments: Sequence[float]) -> list[float]:
    return [later - earlier for earlier, later in itertools.pairwise(moments)]


async def _body(reader: asyncio.StreamReader, head: bytes) -> bytes:
    length = _field(head, b"content-length")
    if length is not None:
        return await reader.readexactly(int(length))
    body = b""
    while size := int(await reader.readuntil(b"\r\n"), 16):
        body += (await reader.readexactly(size + 2))[:-2]
    await reader.readexactly(2)
    return body


def _field(head: bytes, name: bytes) -> bytes | None:
    start = head.find(b"\r\n%b: " % name)
    return None if start < 0 else head[start + len(name) + 4 :].split(b"\r\n", 1)[0]
