"""Callers that come at a steady pace, whatever becomes of those before them: an open loop, as users are."""

import asyncio
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from callers import NATIVE, post
from gateway import ADMIN_KEY

_PATIENCE_S = 60.0
_READERS = 4 * 1024 * 1024


@dataclass(frozen=True)
class Told:
    """What a caller was told, and when: `began_s` after the first call, it took `took_s`."""

    began_s: float
    took_s: float
    status: int
    fields: dict[str, str] = field(default_factory=dict)
    body: bytes = b""

    @property
    def retry_after_s(self) -> float | None:
        value = self.fields.get("retry-after")
        return None if value is None else float(value)

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Callers:
    """Keep-alive connections to one server under one key."""

    def __init__(self, port: int, key: str = ADMIN_KEY) -> None:
        self._port = port
        self._key = key
        self._idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []

    async def ask(self, model: str, began: float, fields: Sequence[str] = (), **parameters: Any) -> Told:
        body = json.dumps({"model": model, "parameters": {"prompt": "你好，世界", **parameters}}).encode()
        request = post(NATIVE, body, key=self._key, fields=fields)
        asked = time.monotonic()
        async with asyncio.timeout(_PATIENCE_S):
            reader, writer = self._idle.pop() if self._idle else await self._connect()
            try:
                writer.write(request)
                status, found, answer = await _read(reader)
            except BaseException:
                writer.close()
                raise
        self._idle.append((reader, writer))
        return Told(asked - began, time.monotonic() - asked, status, found, answer)

    async def ask_at_pace(self, model: str, calls: int, per_s: float, **parameters: Any) -> list[Told]:
        """So many calls, one every so often; all answers, in the order of asking."""
        began = time.monotonic()
        tasks: list[asyncio.Task[Told]] = []
        for n in range(calls):
            await asyncio.sleep(max(0.0, began + n / per_s - time.monotonic()))
            tasks.append(asyncio.create_task(self.ask(model, began, **parameters)))
        return await asyncio.gather(*tasks)

    def close(self) -> None:
        for _, writer in self._idle:
            writer.close()

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection("127.0.0.1", self._port, limit=_READERS)


def paced(port: int, model: str, calls: int, per_s: float, *, key: str = ADMIN_KEY, **parameters: Any) -> list[Told]:
    """`Callers.ask_at_pace`, for who does nothing else meanwhile."""

    async def run() -> list[Told]:
        callers = Callers(port, key)
        try:
            return await callers.ask_at_pace(model, calls, per_s, **parameters)
        finally:
            callers.close()

    return asyncio.run(run())


async def _read(reader: asyncio.StreamReader) -> tuple[int, dict[str, str], bytes]:
    lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    fields = dict(line.lower().split(": ", 1) for line in lines[1:] if line)
    status = int(lines[0].split(" ", 2)[1])
    if "content-length" in fields:
        return status, fields, await reader.readexactly(int(fields["content-length"]))
    body = b""
    while size := int(await reader.readuntil(b"\r\n"), 16):
        body += (await reader.readexactly(size + 2))[:-2]
    await reader.readuntil(b"\r\n")
    return status, fields, body
