"""A worker's side: to say something of itself when asked, and to ask what all workers say."""

import asyncio
import logging
from collections.abc import Callable
from typing import Any, Generic, TypeVar

from msgspec import Raw, Struct, msgpack

from dujiang.siblings.line import Answer, Answers, Ask, Asked, Line, Ready, Seen, ToWorker
from dujiang.telemetry.troubles import Trouble

PATIENCE_S = 2.0
"""How long to wait for the parent, which itself waits for half of it."""

_log = logging.getLogger(__name__)

T = TypeVar("T")


class Told(Struct, Generic[T]):
    """What the workers said, in no order; `silent` is how many did not answer, or do not live at the moment."""

    answers: list[T]
    silent: int


class Siblings:
    """All workers of the server, of which this is one."""

    def __init__(self, number: int = 1, count: int = 1) -> None:
        """`number` is this worker's, from 1."""
        self.number = number
        self.count = count
        self._line: Line | None = None
        self._answers: dict[str, Callable[[], Any]] = {}
        self._asking: dict[str, asyncio.Future[Answers | None]] = {}

    def answer(self, topic: str, of_this_worker: Callable[[], Any]) -> None:
        """Answer questions of a topic with what `of_this_worker` gives: msgspec can write it, and it does not wait."""
        self._answers[topic] = of_this_worker

    async def ask(self, topic: str, kind: type[T]) -> Told[T]:
        """What every worker says of a topic, this one too. A worker that says nothing within a second is left out.

        Who asks while others wait for the same topic gets what they get.
        """
        if self._line is None or self.count == 1:
            return self._alone(topic)
        asking = self._asking.get(topic)
        if asking is None:
            loop = asyncio.get_running_loop()
            self._line.send(Ask(topic, Raw(msgpack.encode(self._answers[topic]()))))
            asking = self._asking[topic] = loop.create_future()
            loop.call_later(PATIENCE_S, self._give_up, topic, asking)
        heard = await asyncio.shield(asking)
        if heard is None:
            return self._alone(topic)
        return Told([msgpack.decode(body, type=kind) for body in heard.bodies], heard.silent)

    def connect(self, line: Line) -> None:
        """From now on there is a way to the parent."""
        self._line = line

    def tell_ready(self) -> None:
        """Tell the parent that this worker accepts calls."""
        if self._line is not None:
            self._line.send(Ready())

    def tell_troubles(self, troubles: frozenset[Trouble]) -> None:
        """Tell the parent all that is wrong now."""
        if self._line is not None:
            self._line.send(Seen(troubles))

    def received(self, message: ToWorker) -> None:
        """Take a message of the parent."""
        if isinstance(message, Asked):
            self._say(message)
        elif (asking := self._asking.pop(message.topic, None)) is not None and not asking.done():
            asking.set_result(message)

    def _say(self, asked: Asked) -> None:
        try:
            body = msgpack.encode(self._answers[asked.topic]())
        except Exception:  # noqa: BLE001 - whatever a part raises, the line to the parent must outlive it
            _log.exception("the question of another worker cannot be answered: %s", asked.topic)
        else:
            if self._line is not None:
                self._line.send(Answer(asked.round, Raw(body)))

    def _alone(self, topic: str) -> Told[Any]:
        return Told([self._answers[topic]()], self.count - 1)

    def _give_up(self, topic: str, asking: asyncio.Future[Answers | None]) -> None:
        if not asking.done():
            asking.set_result(None)
            if self._asking.get(topic) is asking:
                del self._asking[topic]
