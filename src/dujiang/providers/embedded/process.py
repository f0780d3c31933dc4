"""The embedded model as its parent sees it: a child process that is started, watched, restarted and ended."""

import asyncio
import logging
import os
import signal
import socket
import sys
import time
from asyncio.subprocess import PIPE, Process
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from dujiang.providers.embedded.child import API_KEY_VARIABLE, READY

log = logging.getLogger(__name__)

State = Literal["starting", "ready", "restarting", "stopped"]

START_TIMEOUT_S = 300.0
FIRST_DELAY_S = 0.2
MAX_DELAY_S = 10.0
_STEADY_S = 30.0
_GRACE_S = 3.0
_LAST_WORDS_BYTES = 4096
_PASSED_ON = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "PYTHONPATH")
"""What the child gets of the environment: no secret of ours is any business of a model's."""


class EmbeddedModel:
    """A model on this machine behind `base_url`, for callers that present `api_key`.

    A child that dies is started again after a delay that doubles from 0.2 s to 10 s, and begins anew once a child has
    been ready for 30 s. `state`, `since` (UTC) and `reason` (why it is not ready) may be read at any time.
    `context_tokens` is the room of one request, `slots` how many are answered at once. `command` replaces the child's
    command line.
    """

    def __init__(
        self,
        model_file: Path,
        port: int,
        api_key: str,
        *,
        context_tokens: int = 4096,
        slots: int = 2,
        threads: int | None = None,
        command: Sequence[str] | None = None,
    ) -> None:
        self.base_url = f"http://127.0.0.1:{port}/v1"
        self.api_key = api_key
        self.state: State = "stopped"
        self.since = datetime.now(UTC)
        self.reason = ""
        self.pid: int | None = None
        self._command = command or _command(model_file, port, context_tokens, slots, threads)
        self._task: asyncio.Task[None] | None = None
        self._is_ready = asyncio.Event()

    async def start(self) -> None:
        """Begin to run the child, in the background. Returns before the model is ready."""
        if self._task is None:
            self._enter("starting")
            self._task = asyncio.create_task(self._keep_running(), name="embedded-model")

    async def wait_ready(self, timeout_s: float) -> None:
        """Return once the model answers. Raises `TimeoutError`."""
        await asyncio.wait_for(self._is_ready.wait(), timeout_s)

    async def stop(self) -> None:
        """End the child: SIGTERM, after 3 s SIGKILL. Returns when it is gone."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        self._enter("stopped")

    async def _keep_running(self) -> None:
        delay_s = FIRST_DELAY_S
        while True:
            ready_s, why = await self._run_once()
            if ready_s >= _STEADY_S:
                delay_s = FIRST_DELAY_S
            log.warning("The embedded model %s; it is started again in %.1f s", why, delay_s)
            self._enter("restarting", why)
            await asyncio.sleep(delay_s)
            delay_s = min(2 * delay_s, MAX_DELAY_S)

    async def _run_once(self) -> tuple[float, str]:
        """One life of the child: for how many seconds it was ready, and how it ended."""
        try:
            child = await _spawn(self._command, self.api_key)
        except OSError as error:
            return 0.0, f"could not be started: {error}"
        self.pid = child.pid
        last_words = asyncio.create_task(_last_words(child))
        try:
            if not await _said_ready(child):
                await _end(child)
                return 0.0, f"did not start ({_how_ended(child)}): {_first_error(await last_words)}"
            ready_at = time.monotonic()
            self._enter("ready")
            log.info("The embedded model is ready (process %d)", child.pid)
            await child.wait()
            return time.monotonic() - ready_at, f"ended ({_how_ended(child)})"
        finally:
            await _end(child)
            last_words.cancel()
            self.pid = None

    def _enter(self, state: State, reason: str = "") -> None:
        self.state = state
        self.reason = reason
        self.since = datetime.now(UTC)
        if state == "ready":
            self._is_ready.set()
        else:
            self._is_ready.clear()


def free_port() -> int:
    """A port of 127.0.0.1 that is free at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _command(model_file: Path, port: int, context_tokens: int, slots: int, threads: int | None) -> list[str]:
    command = [sys.executable, "-m", "dujiang.providers.embedded.child"]
    command += ["--model", str(model_file), "--port", str(port)]
    command += ["--context", str(context_tokens), "--slots", str(slots)]
    return command if threads is None else [*command, "--threads", str(threads)]


async def _spawn(command: Sequence[str], api_key: str) -> Process:
    passed_on = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    return await asyncio.create_subprocess_exec(
        *command,
        stdin=PIPE,
        stdout=PIPE,
        stderr=PIPE,
        env={**passed_on, API_KEY_VARIABLE: api_key},
        start_new_session=True,  # Ctrl-C in a terminal is the parent's to answer
    )


async def _said_ready(child: Process) -> bool:
    """Whether the child reported that its model is loaded, before it ended and within the time for starting."""
    if child.stdout is None:
        return False
    try:
        return await asyncio.wait_for(child.stdout.readline(), START_TIMEOUT_S) == READY
    except TimeoutError:
        return False


async def _last_words(child: Process) -> bytes:
    """The end of what the child wrote to its standard error, read as it comes so that it never blocks on it."""
    words = b""
    if child.stderr is not None:
        while piece := await child.stderr.read(_LAST_WORDS_BYTES):
            words = (words + piece)[-_LAST_WORDS_BYTES:]
    return words


def _first_error(words: bytes) -> str:
    """The engine's first error line (`0.00.004.300 E what failed`), else the last line of all."""
    lines = words.decode("utf-8", "replace").strip().splitlines() or ["it left no message"]
    errors = (line.partition(" E ")[2] for line in lines)
    return next(filter(None, errors), lines[-1]).strip()


def _how_ended(child: Process) -> str:
    code = child.returncode
    if code is None:
        return "still running"
    return f"exit code {code}" if code >= 0 else f"signal {signal.Signals(-code).name}"


async def _end(child: Process) -> None:
    """Terminate the child if it still runs, kill it if it does not heed that, and wait for it.

    By `os.kill`: `Process.terminate` polls first, which takes the exit code away from asyncio's own watcher.
    """
    for fatal in (signal.SIGTERM, signal.SIGKILL):
        if child.returncode is not None:
            return
        with suppress(ProcessLookupError):
            os.kill(child.pid, fatal)
        with suppress(TimeoutError):
            await asyncio.wait_for(child.wait(), _GRACE_S)
