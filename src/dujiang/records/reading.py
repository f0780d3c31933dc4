"""Runs statements on days' files, within a time and beside not too many others."""

import sqlite3
import time
from collections.abc import Generator
from contextlib import contextmanager
from datetime import date
from threading import BoundedSemaphore
from typing import Any

from dujiang.core.errors import LimitExceeded, Misconfigured, Unprocessable
from dujiang.records.partitions import Partitions
from dujiang.records.tables import Sql

TIMEOUT_S = 2.0
"""That one question may take, whatever it asks."""

CONCURRENCY = 4
"""Questions at once in one process; one more waits, for at most `TIMEOUT_S`."""

_STEPS_BETWEEN_LOOKS = 10_000


class Clock:
    """When a question must be answered."""

    def __init__(self, timeout_s: float) -> None:
        self._ends = time.monotonic() + timeout_s

    def is_over(self) -> bool:
        return time.monotonic() > self._ends

    def left_s(self) -> float:
        return max(0.0, self._ends - time.monotonic())

    def check(self) -> None:
        """Raises `Unprocessable` once the time is over."""
        if self.is_over():
            raise too_slow()


class Turns:
    """Lets a few questions run at once, so that no flood of them takes the process's threads and time."""

    def __init__(self, timeout_s: float = TIMEOUT_S, concurrency: int = CONCURRENCY) -> None:
        self._timeout_s = timeout_s
        self._free = BoundedSemaphore(concurrency)

    @contextmanager
    def take(self) -> Generator[Clock]:
        """The clock of a question that may run now. Raises `LimitExceeded` after waiting in vain."""
        if not self._free.acquire(timeout=self._timeout_s):
            raise LimitExceeded("Too many questions about records at once.", reason="concurrency", retry_after_s=1.0)
        try:
            yield Clock(self._timeout_s)
        finally:
            self._free.release()


def run(partitions: Partitions, day: date, statement: Sql, clock: Clock) -> list[tuple[Any, ...]]:
    """The rows of a statement in a day's file; none where there is no such file.

    Raises `Unprocessable` when the time is over, `Misconfigured` for a file that cannot be read.
    """
    clock.check()
    try:
        with partitions.reading(day) as connection:
            if connection is None:
                return []
            connection.set_progress_handler(clock.is_over, _STEPS_BETWEEN_LOOKS)
            return connection.execute(statement.text, statement.values).fetchall()
    except sqlite3.DatabaseError as error:
        if clock.is_over():
            raise too_slow() from error
        raise Misconfigured(f"The records of {day} cannot be read: {error}.") from error


def too_slow() -> Unprocessable:
    """What a question that took all its time is answered with."""
    return Unprocessable("This takes too long: ask for a shorter range or fewer rows.", reason="too_slow")
