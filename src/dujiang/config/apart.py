"""Large documents are read by processes of their own, so that the one that serves calls does not stop for them."""

import asyncio
import os
import subprocess
import sys
import threading
from collections.abc import Awaitable, Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import IO

import msgspec

from dujiang.config.entries import Tree
from dujiang.config.environment import RESERVED
from dujiang.config.pieces import Piece, joined
from dujiang.config.problems import InvalidDocument
from dujiang.config.reader import MAX_PIECE_BYTES, Task, Verdict
from dujiang.core.errors import AppError, LimitExceeded
from dujiang.core.problem import Problem

LARGE_BYTES = 256 * 1024
"""Smaller documents are read in this process, away from its event loop."""

DEADLINE_S = 30.0
MAX_WAITING = 4
_COMMAND = (sys.executable, "-m", "dujiang.config.reader")


class Reading:
    """One document being read. `stop` may be called at any time, from any thread."""

    def __init__(
        self, task: Task, text: bytes, *, deadline_s: float = DEADLINE_S, command: tuple[str, ...] = _COMMAND
    ) -> None:
        self._task = task
        self._text = text
        self._deadline_s = deadline_s
        self._command = command
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._why_stopped: str | None = None

    def run(self) -> Tree:
        """The tree. Blocks, with the interpreter's lock released but for one piece at a time.

        Raises `InvalidDocument` with all that is wrong, and for a document that takes too long; `AppError` where the
        reader does not come to its end.
        """
        timer = threading.Timer(self._deadline_s, self.stop, (f"takes more than {self._deadline_s:g} s to read",))
        timer.daemon = True
        process = self._start()
        timer.start()
        try:
            with process:
                given, answer = process.stdin, process.stdout
                if given is None or answer is None:
                    raise RuntimeError("a reader without pipes")
                self._tell(given)
                return joined(self._answered(answer))
        finally:
            timer.cancel()
            self.stop("is not wanted any more")

    def stop(self, why: str) -> None:
        """End the reader, if it still runs; `why` is what `run` tells of the document then."""
        with self._lock:
            if self._why_stopped is None:
                self._why_stopped = why
            if self._process is not None and self._process.poll() is None:
                self._process.kill()

    def _start(self) -> subprocess.Popen[bytes]:
        with self._lock:
            if self._why_stopped is not None:
                raise InvalidDocument((Problem("", self._why_stopped),))
            self._process = subprocess.Popen(  # noqa: S603 - our own interpreter and module
                self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=_environ(os.environ)
            )
            return self._process

    def _tell(self, given: IO[bytes]) -> None:
        with suppress(BrokenPipeError), given:
            given.write(msgspec.json.encode(self._task) + b"\n")
            given.write(self._text)

    def _answered(self, answer: IO[bytes]) -> Iterator[Piece]:
        while (line := answer.readline(2 * MAX_PIECE_BYTES)).endswith(b"\n"):
            if line.startswith(b"["):
                yield _piece_of(line)
                continue
            verdict = msgspec.json.decode(line, type=Verdict)
            if verdict.problems:
                raise InvalidDocument(verdict.problems)
            return
        with self._lock:
            why = self._why_stopped
        if why is not None:
            raise InvalidDocument((Problem("", why),))
        raise AppError("The document could not be read: its reader ended too soon.")


class Readers:
    """Reads documents one after the other: each may take as much memory as a large document does."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(1, "read documents")
        self._readings: set[Reading] = set()

    async def read(self, task: Task, text: bytes, gone: Callable[[], Awaitable[object]]) -> Tree:
        """The tree of a document, unless `gone` returns first, which says that nobody waits for it any more.

        Raises as `Reading.run`, and `LimitExceeded` where too many are waiting.
        """
        if len(self._readings) >= MAX_WAITING:
            raise LimitExceeded("Other large documents are being read: try again.", reason="concurrency")
        reading = Reading(task, text)
        self._readings.add(reading)
        watching = asyncio.ensure_future(gone())
        done = asyncio.get_running_loop().run_in_executor(self._threads, reading.run)
        try:
            await asyncio.wait({done, watching}, return_when=asyncio.FIRST_COMPLETED)
            if not done.done():
                reading.stop("its sender is gone")
            return await done
        finally:
            reading.stop("its sender is gone")
            watching.cancel()
            self._readings.discard(reading)

    def close(self) -> None:
        for reading in tuple(self._readings):
            reading.stop("the server is shutting down")
        self._threads.shutdown()


def _piece_of(line: bytes) -> Piece:
    section, name, part = msgspec.json.decode(line)
    return section, name, part


def _environ(environ: Mapping[str, str]) -> dict[str, str]:
    """What a reader gets of the environment: what documents may refer to, not our own keys."""
    return {name: value for name, value in environ.items() if not name.startswith(RESERVED)}
