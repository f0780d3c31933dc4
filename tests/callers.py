"""Callers that write down what they heard: one request on one connection, read to its end or left at some moment."""

import asyncio
import contextlib
import itertools
import json
import random
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from gateway import ADMIN_KEY

Wire = str
NATIVE, OPENAI = "/api/v1/chat/completions", "/v1/chat/completions"
_PATIENCE_S = 60.0


@dataclass(frozen=True)
class Question:
    """A call to make. `leaves_after_s` is when the caller hangs up, None for one who waits for the end."""

    request_id: str
    model: str
    path: str = NATIVE
    stream: bool = False
    leaves_after_s: float | None = None

    @property
    def request(self) -> bytes:
        body = (
            {"model": self.model, "parameters": {"prompt": "你好，世界", "stream": self.stream}}
            if self.path == NATIVE
            else {"model": self.model, "messages": [{"role": "user", "content": "你好，世界"}], "stream": self.stream}
        )
        return post(self.path, json.dumps(body | {"request_id": self.request_id}).encode())


@dataclass(frozen=True)
class Heard:
    """What became of a call, as its caller knows it.

    `status` is None where no answer began. `is_complete`: its end arrived, so the call is acknowledged. `is_cut`: an
    error stood at the end of a stream. `has_left`: the caller hung up first; otherwise a call that is not complete is
    one whose server went away. `error` is the body of an answer that is one, as far as it says much. `took_ms` is from
    before the connection until the end.
    """

    request_id: str
    status: int | None = None
    is_complete: bool = False
    is_cut: bool = False
    has_left: bool = False
    error: str = ""
    took_ms: float = 0.0


class _Answer:
    """What has arrived of an answer."""

    def __init__(self) -> None:
        self.status: int | None = None
        self.body = b""
        self.is_stream = False
        self.is_complete = False


def post(path: str, body: bytes, *, key: str | None = ADMIN_KEY, fields: Sequence[str] = ()) -> bytes:
    """A request's bytes."""
    lines = [f"POST {path} HTTP/1.1", "Host: x", f"Content-Length: {len(body)}", *fields]
    if key is not None:
        lines.append(f"Authorization: Bearer {key}")
    return "\r\n".join([*lines, "", ""]).encode() + body


async def ask(port: int, question: Question) -> Heard:
    """Make the call, and tell what was heard."""
    answer = _Answer()
    has_left = False
    writer: asyncio.StreamWriter | None = None
    began = time.monotonic()
    try:
        async with asyncio.timeout(_PATIENCE_S if question.leaves_after_s is None else question.leaves_after_s):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(question.request)
            await _read(reader, answer)
    except TimeoutError:
        if question.leaves_after_s is None:
            raise
        has_left = True
    except (OSError, asyncio.IncompleteReadError):
        pass  # the server is gone; what was heard until then counts
    finally:
        if writer is not None:
            writer.close()
    is_cut = answer.is_complete and answer.is_stream and b'"error":{' in answer.body
    has_left = has_left and not answer.is_complete
    error = "" if answer.status == 200 else answer.body[:300].decode("utf-8", "replace")
    took_ms = (time.monotonic() - began) * 1000
    return Heard(question.request_id, answer.status, answer.is_complete, is_cut, has_left, error, took_ms)


async def _read(reader: asyncio.StreamReader, answer: _Answer) -> None:
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    answer.is_stream = b"text/event-stream" in head
    answer.status = int(head.split(b" ", 2)[1])
    if b"content-length: " in head:
        answer.body = await reader.readexactly(int(head.split(b"content-length: ", 1)[1].split(b"\r\n", 1)[0]))
        answer.is_complete = True
        return
    while size := int(await reader.readuntil(b"\r\n"), 16):
        answer.body += (await reader.readexactly(size + 2))[:-2]
        # Whoever saw the mark of the end need not wait for the connection's own.
        answer.is_complete = answer.body.endswith(b"data: [DONE]\n\n")
    answer.is_complete = True


class Load:
    """Callers that ask again and again, `rate` times a second together, until they are told to stop.

    The seed decides what is asked; ids begin with `prefix`. `heard` grows while it runs. A caller who finds nobody
    listening waits a little, as a real one would.
    """

    def __init__(self, port: int, templates: Sequence[Question], *, prefix: str, seed: int, rate: int = 200) -> None:
        self.heard: list[Heard] = []
        self._port = port
        self._rate = rate
        self._questions = self._draw(templates, prefix, random.Random(seed))
        self._tasks: set[asyncio.Task[None]] = set()
        self._is_over = False

    @staticmethod
    def _draw(templates: Sequence[Question], prefix: str, draw: random.Random) -> Iterator[Question]:
        for n in itertools.count():
            yield replace(draw.choice(templates), request_id=f"{prefix}{n}")

    async def run(self, seconds: float) -> None:
        """Ask for this long, or until `stop`; then wait for what is being answered."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        for n in itertools.count():
            due = began + n / self._rate
            if due > began + seconds or self._is_over:
                break
            await asyncio.sleep(max(0.0, due - loop.time()))
            task = asyncio.create_task(self._ask(next(self._questions)))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        await asyncio.gather(*self._tasks)

    def stop(self) -> None:
        self._is_over = True

    async def _ask(self, question: Question) -> None:
        self.heard.append(await ask(self._port, question))


def ask_all(port: int, questions: Sequence[Question]) -> list[Heard]:
    """Make calls at once."""

    async def together() -> list[Heard]:
        return await asyncio.gather(*(ask(port, question) for question in questions))

    with contextlib.closing(asyncio.new_event_loop()) as loop:
        return loop.run_until_complete(together())
