"""One connection that all calls share, and the breaker in front of it.

Commands are written in the order in which they are asked for, and answered in that order: many are under way at once.
A command that is late says that the server, which does one thing at a time, is: the connection is given up, and with it
whatever was sent on it.
"""

import asyncio
import logging
from asyncio import Future, TimerHandle
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

from redis.asyncio.connection import AbstractConnection
from redis.exceptions import NoScriptError, ResponseError

from dujiang.storage.redis.address import CONNECT_S, NewConnection
from dujiang.storage.redis.scripts import Script

COMMAND_S = 0.050
"""How long a command may take, connecting included where the connection was just lost."""

GRACE_S = 0.005
"""Then answers that have arrived already are read first: this process may be the one that was held up."""

FAILURES = 3
"""So many in a row, and the server is away."""

PROBE_S = 0.5
"""How long after a failed attempt to connect to a server that is away the next one is made."""

T = TypeVar("T")
Word = str | bytes | int
Ask = Callable[..., Awaitable[list[Any]]]
"""Commands in, each a sequence of words; their answers out. An error of the server's is raised."""

_log = logging.getLogger(__name__)


class StoreAway(Exception):
    """The server did not do what it was asked, as far as one can tell. The message is one word that says why."""


class _Asked:
    """A command under way. `until` is the loop's time at which it is late."""

    __slots__ = ("answer", "until", "words")

    def __init__(self, words: Sequence[Word], answer: "Future[Any]", until: float) -> None:
        self.words = words
        self.answer = answer
        self.until = until


class Link:
    """Keeps a connection while `keep()` runs. `greet` says hello on a new one, before any other command."""

    def __init__(
        self, new_connection: NewConnection, greet: Callable[[Ask], Awaitable[None]], command_s: float = COMMAND_S
    ) -> None:
        self._new_connection = new_connection
        self._greet = greet
        self._command_s = command_s
        self._unsent: deque[_Asked] = deque()
        self._sent: deque[_Asked] = deque()
        self._wake = asyncio.Event()
        self._timer: TimerHandle | None = None
        self._broken: Future[None] | None = None
        self._failures = 0
        self._why_away = ""
        self.up = asyncio.Event()
        """Set while there is a connection."""

    @property
    def is_away(self) -> bool:
        """Whether commands are refused at once."""
        return bool(self._why_away)

    def state(self) -> str:
        if self._why_away:
            return f"degraded: {self._why_away}"
        return "ok" if self.up.is_set() else "degraded: connecting"

    def ask(self, *words: Word) -> "Future[Any]":
        """Send a command; its answer, or `StoreAway`, comes within `command_s`. Raises `StoreAway` where it is known
        to be.
        """
        if self._why_away:
            raise StoreAway(self._why_away)
        loop = asyncio.get_running_loop()
        asked = _Asked(words, loop.create_future(), loop.time() + self._command_s)
        self._unsent.append(asked)
        self._wake.set()
        if self._timer is None:
            self._timer = loop.call_at(asked.until, self._look)
        return asked.answer

    async def run(
        self, script: Script, keys: Sequence[str], values: Sequence[Word], read: Callable[[list[str]], T]
    ) -> T:
        """What a script answers, in words, as `read` understands it. Raises `StoreAway`, for nonsense too."""
        try:
            reply = await self.ask("EVALSHA", script.digest, len(keys), *keys, *values)
        except NoScriptError:
            reply = await self.ask("EVAL", script.text, len(keys), *keys, *values)
        try:
            return read(reply.decode().split())
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            nonsense = StoreAway("Nonsense")
            self._break(nonsense)
            raise nonsense from error

    async def keep(self) -> None:
        """Connect, and connect again, until cancelled."""
        try:
            while True:
                await self._connect_once()
                if self._why_away:
                    await asyncio.sleep(PROBE_S)
        finally:
            self._why_away = "closed"
            self._give_up(self._sent, self._unsent)
            if self._timer is not None:
                self._timer.cancel()

    async def _connect_once(self) -> None:
        """Hold one connection for as long as it lasts."""
        connection = self._new_connection()
        try:
            async with asyncio.timeout(CONNECT_S):
                await connection.connect()
                await self._greet(_asking(connection))
            async with asyncio.timeout(self._command_s):
                await _asking(connection)(("PING",))
            self._is_back()
            await self._exchange(connection)
        except Exception as error:  # noqa: BLE001 whatever it answered or failed to, the next attempt is made
            self._has_failed(str(error) if isinstance(error, StoreAway) else type(error).__name__)
        finally:
            self.up.clear()
            self._give_up(self._sent)
            await connection.disconnect(nowait=True)

    async def _exchange(self, connection: AbstractConnection) -> None:
        """Raises what ends the connection."""
        self._broken = asyncio.get_running_loop().create_future()
        ends: list[Future[None]] = [
            asyncio.create_task(self._write(connection), name="redis: write"),
            asyncio.create_task(self._read(connection), name="redis: read"),
            self._broken,
        ]
        self.up.set()
        try:
            done, _ = await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._broken = None
            for end in ends:
                end.cancel()
            outcomes = await asyncio.gather(*ends, return_exceptions=True)
        for end, outcome in zip(ends, outcomes, strict=True):
            if end in done and isinstance(outcome, Exception):
                raise outcome

    async def _write(self, connection: AbstractConnection) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            batch = [asked for asked in self._unsent if not asked.answer.done()]
            self._unsent.clear()
            self._sent.extend(batch)
            if self._is_broken():
                return
            packed = connection.pack_commands([asked.words for asked in batch])
            await connection.send_packed_command(packed, check_health=False)

    async def _read(self, connection: AbstractConnection) -> None:
        while True:
            try:
                reply = await _reply(connection)
            except ResponseError as error:
                reply = error
            answer = self._sent.popleft().answer
            if not isinstance(reply, ResponseError):
                self._failures = 0
                if not answer.done():
                    answer.set_result(reply)
                continue
            refused = reply if isinstance(reply, NoScriptError) else StoreAway(type(reply).__name__)
            if not answer.done():
                answer.set_exception(refused)
            if refused is not reply:
                self._has_failed(str(refused))

    def _look(self) -> None:
        """Whether the oldest command is late; looks again when the next one would be."""
        loop = asyncio.get_running_loop()
        oldest = self._unsent if self._is_broken() else self._sent or self._unsent
        if not oldest:
            self._timer = None
        elif oldest[0].until > loop.time():
            self._timer = loop.call_at(oldest[0].until, self._look)
        else:
            self._timer = loop.call_later(GRACE_S, self._end_late)

    def _end_late(self) -> None:
        now = asyncio.get_running_loop().time()
        if self._broken is not None and not self._is_broken() and self._sent and self._sent[0].until <= now:
            self._break(TimeoutError())
            for asked in self._sent:  # they stay in their places: an answer that comes now is not taken for another's
                _fail(asked, TimeoutError.__name__)
        late = deque[_Asked]()
        while self._unsent and self._unsent[0].until <= now:
            late.append(self._unsent.popleft())
        if late:
            self._give_up(late)
            if self._broken is None:
                self._has_failed(TimeoutError.__name__)
        self._look()

    def _is_back(self) -> None:
        self._failures = 0
        if self._why_away:
            _log.warning("the shared store is back")
            self._why_away = ""

    def _has_failed(self, why: str) -> None:
        self._failures += 1
        if self._failures >= FAILURES and not self._why_away:
            _log.warning("the shared store is away (%s): going on with what this process knows", why)
            self._why_away = why
            self._give_up(self._unsent)
            self._break(StoreAway(why))

    def _give_up(self, *queues: deque[_Asked]) -> None:
        for queue in queues:
            while queue:
                _fail(queue.popleft(), self._why_away or "late")

    def _break(self, error: Exception) -> None:
        """Give the connection up, for this."""
        if self._broken is not None and not self._broken.done():
            self._broken.set_exception(error)

    def _is_broken(self) -> bool:
        """Whether the connection is to be given up."""
        return self._broken is not None and self._broken.done()


def is_done(words: list[str]) -> bool:
    """What a script says that has nothing to tell: whether it changed anything. Raises `ValueError` for nonsense."""
    (word,) = words
    return bool(int(word))


def _fail(asked: _Asked, why: str) -> None:
    if not asked.answer.done():
        asked.answer.set_exception(StoreAway(why))


def _asking(connection: AbstractConnection) -> Ask:
    """Commands on a connection that nobody else uses yet."""

    async def ask(*commands: Sequence[Word]) -> list[Any]:
        await connection.send_packed_command(connection.pack_commands(commands), check_health=False)
        return [await _reply(connection) for _ in commands]

    return ask


async def _reply(connection: AbstractConnection) -> Any:
    """The next answer; an error of the server's is raised."""
    return await connection.read_response(disconnect_on_error=False)  # pyright: ignore[reportUnknownVariableType]
