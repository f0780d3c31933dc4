"""The parent's side: carries a worker's question to the others, and what they say back to it."""

import asyncio
from collections.abc import Mapping

from msgspec import Raw, Struct

from dujiang.siblings.kept_counts import METRICS, KeptCounts
from dujiang.siblings.line import Answer, Answers, Ask, Asked, Line

DEADLINE_S = 1.0
"""Who has not answered by then is left out."""


class _Round(Struct):
    """A question on its way: who asked, what they said by now, and whom it waits for."""

    asker: int
    topic: str
    bodies: dict[int, Raw]
    waiting: set[int]
    timer: asyncio.TimerHandle


class Switchboard:
    """The lines to the workers that accept calls, by the workers' numbers. All methods are of the loop's thread."""

    def __init__(self, workers: int) -> None:
        self._workers = workers
        self._lines: dict[int, Line] = {}
        self._rounds: dict[int, _Round] = {}
        self._last = 0
        self._kept = KeptCounts()

    def connect(self, number: int, line: Line) -> None:
        """This worker can be asked from now on."""
        self._lines[number] = line

    def disconnect(self, number: int, line: Line) -> None:
        """The worker at the other end is gone; no round waits for it."""
        if self._lines.get(number) is not line:
            return
        del self._lines[number]
        self._kept.gone(number)
        for key, each in list(self._rounds.items()):
            each.waiting.discard(number)
            self._finish_if_complete(key)

    def ask(self, asker: int, question: Ask) -> None:
        """Pass a question on to the other workers."""
        self._last += 1
        key = self._last
        others = {number: line for number, line in self._lines.items() if number != asker}
        timer = asyncio.get_running_loop().call_later(DEADLINE_S, self._finish, key)
        self._rounds[key] = _Round(asker, question.topic, {asker: question.body}, set(others), timer)
        for line in others.values():
            line.send(Asked(key, question.topic))
        self._finish_if_complete(key)

    def hear(self, number: int, answer: Answer) -> None:
        """Take a worker's answer; one that comes too late is nobody's any more."""
        found = self._rounds.get(answer.round)
        if found is not None and number in found.waiting:
            found.waiting.discard(number)
            found.bodies[number] = answer.body
            self._finish_if_complete(answer.round)

    def _finish_if_complete(self, key: int) -> None:
        if not self._rounds[key].waiting:
            self._finish(key)

    def _finish(self, key: int) -> None:
        done = self._rounds.pop(key)
        done.timer.cancel()
        line = self._lines.get(done.asker)
        if line is not None:
            silent = self._workers - len(done.bodies)
            line.send(Answers(done.topic, self._bodies(done.topic, done.bodies), silent))

    def _bodies(self, topic: str, heard: Mapping[int, Raw]) -> tuple[Raw, ...]:
        bodies = tuple(heard.values())
        return (*bodies, self._kept.beside(heard)) if topic == METRICS else bodies
