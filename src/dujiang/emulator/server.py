"""The emulator as a server: one process that answers every dialect's paths by script and counts what it was asked."""

import asyncio
import contextlib
import resource
import signal
from collections.abc import Callable, Mapping
from pathlib import Path

import uvloop

from dujiang.emulator import faults
from dujiang.emulator.behaviour import BadBehaviour
from dujiang.emulator.conditions import Conditions
from dujiang.emulator.connection import Connection, Play
from dujiang.emulator.control import Control, error
from dujiang.emulator.counters import Attempt, Counters
from dujiang.emulator.delivery import Exchange
from dujiang.emulator.dialect import Answer, Dialect, Refused, Request
from dujiang.emulator.ernie.v1 import ErnieDialect, TokenDialect, Tokens
from dujiang.emulator.ernie.v2 import QianfanDialect
from dujiang.emulator.openai import OpenAiDialect
from dujiang.emulator.script import Script, load
from dujiang.emulator.wire import CLOSE, head, length

_BACKLOG = 4096


class Emulator:
    """A running emulator. `url` is its address without a path, `counters` what it has counted so far."""

    def __init__(self, dialects: tuple[Dialect, ...], script: Script) -> None:
        self.url = ""
        self.counters = Counters()
        self._dialects = dialects
        self._script = script
        self._conditions = Conditions()
        self._control = Control(self.counters, script, self._conditions)
        self._connections: set[Connection] = set()
        self._server: asyncio.Server | None = None

    async def listen(self, host: str, port: int) -> None:
        """Accept connections; port 0 takes a free one. Raises `OSError`."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(
            lambda: Connection(loop, self.answer, self._connections), host, port, backlog=_BACKLOG
        )
        port = self._server.sockets[0].getsockname()[1]
        self.url = f"http://{f'[{host}]' if ':' in host else host}:{port}"

    async def stop(self) -> None:
        """Stop listening and drop every connection, answered or not."""
        if self._server is None:
            return
        self._server.close()
        for connection in list(self._connections):
            connection.abort()
        await self._server.wait_closed()
        self._server = None

    def answer(self, request: Request) -> Play:
        """How a request is answered."""
        path = request.path
        for dialect in self._dialects:
            if path.startswith(dialect.paths):
                return self._in_dialect(dialect, request)
        if path.startswith("/_emulator/"):
            return _at_once(self._control.answer(request), request)
        return _at_once(error(404, f"The emulator has no {path}.", "not_found"), request)

    def _in_dialect(self, dialect: Dialect, request: Request) -> Play:
        page = dialect.page(request, self._script.models)
        if page is not None:
            return _at_once(page, request)
        try:
            ask = dialect.read(request)
        except Refused as refused:
            return _at_once(refused.answer, request, self.counters.begin(refused.model, refused.key))
        attempt = self.counters.begin(ask.model, ask.key)
        try:
            chosen = self._script.choose(ask.model, request.headers.get(b"x-emulate"), dialect.errors)
            ask.admit(chosen)
        except BadBehaviour as problem:
            return _at_once(dialect.refusal(str(problem)), request, attempt)
        except Refused as refused:
            return _at_once(refused.answer, request, attempt)
        in_flight = self.counters.model(ask.model).in_flight
        decision = self._conditions.decide(ask.model, chosen, in_flight, dialect.usual_errors)
        exchange = Exchange(request, dialect, ask, decision.behaviour, decision.allowance)
        return Play(faults.steps(exchange), attempt, exchange.completes)


async def start(host: str = "127.0.0.1", port: int = 0, script: Mapping[str, str] | None = None) -> Emulator:
    """Start an emulator in the running loop. `script` maps models to behaviours. Raises `BadBehaviour`, `OSError`."""
    tokens = Tokens()
    dialects = (OpenAiDialect(), TokenDialect(tokens), ErnieDialect(tokens), QianfanDialect())
    errors = frozenset[str]().union(*(dialect.errors for dialect in dialects))
    emulator = Emulator(dialects, Script(errors, script))
    await emulator.listen(host, port)
    return emulator


def run(host: str, port: int, script: Path | None, announce: Callable[[str], None]) -> None:
    """Serve until SIGTERM or SIGINT. `announce` gets one line with the address once connections are accepted.

    Raises `BadScript`, `BadBehaviour` and `OSError`.
    """
    models = load(script) if script is not None else None
    _raise_file_limit()
    uvloop.run(_serve(host, port, models, announce))


async def _serve(host: str, port: int, models: Mapping[str, str] | None, announce: Callable[[str], None]) -> None:
    asked_to_stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, asked_to_stop.set)
    emulator = await start(host, port, models)
    announce(f"listening on {emulator.url}")
    await asked_to_stop.wait()
    await emulator.stop()


def _raise_file_limit() -> None:
    """Take as many connections as the system allows, not only the shell's usual 1,024."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _at_once(answer: Answer, request: Request, attempt: Attempt | None = None) -> Play:
    lines = answer.headers + length(answer.body) + (b"" if request.keeps_alive else CLOSE)
    return Play((head(answer.status, answer.content_type, lines) + answer.body,), attempt)
