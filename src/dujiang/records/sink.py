"""Stores batches of records in their days' files, each record exactly once."""

import logging
import sqlite3
from collections.abc import Callable, Sequence
from datetime import date
from pathlib import Path
from threading import Lock
from typing import Any

import msgspec
from sqlalchemy import bindparam, select
from sqlalchemy.dialects import sqlite

from dujiang.core.errors import Misconfigured
from dujiang.records.cubes import HOURS
from dujiang.records.drain import BadRecord
from dujiang.records.folding import add_late, fold
from dujiang.records.moments import day_of, id_bytes, id_ms
from dujiang.records.partitions import CALLS, CONTENT, Partitions
from dujiang.records.record import Record
from dujiang.records.repriced_files import appraise, reprice
from dujiang.records.repricing import Repriced, Repricing
from dujiang.records.rollups import add_to_sums
from dujiang.records.tables import attempts, calls, content, insertion

_UNSTORABLE = (ValueError, OverflowError, TypeError, sqlite3.IntegrityError, sqlite3.DataError, sqlite3.InterfaceError)
_ATTEMPTS = Record.__struct_fields__.index("attempts")
_FIND = str(select(calls.c.id).where(calls.c.id == bindparam("id")).compile(dialect=sqlite.dialect()))
_INSERT_CALL = insertion(calls)
_INSERT_ATTEMPT = insertion(attempts)
_INSERT_CONTENT = insertion(content, is_repeatable=True)

Fresh = list[tuple[bytes, Record]]

_log = logging.getLogger(__name__)


class SqliteSink:
    """Writes records under a directory and removes its days; `close()` it. Safe to use from several threads.

    One process writes: two would wait for each other, and a file that one drops the other might still be writing to.

    A day's calls, attempts and sums are one transaction, which fails as a whole where it has one of the ids: then the
    batch is inserted without what is there, so that whatever is sent again, after a crash or because an answer was
    lost, is left out of all three. What was said goes to its own file before them, where a second writing changes
    nothing.

    The sums of an hour are folded in the transaction that brings the next hour; those of a day's last hour before the
    next day begins; those of an older day in the batch that comes late.
    """

    def __init__(self, directory: Path) -> None:
        self._calls = Partitions(directory, CALLS)
        self._content = Partitions(directory, CONTENT)
        self._lock = Lock()
        self._newest: date | None = None

    def upgrade(self, should_stop: Callable[[], bool] = lambda: False) -> None:
        """Brings the files of earlier releases to this one's form, the newest first: until then none reads them.

        `should_stop` is asked before every day: stopping there leaves nothing half done, the next run goes on.
        """
        outdated = self._calls.outdated()
        if outdated:
            _log.warning("upgrading the records of %d days: their sums are counted again", len(outdated))
        for day in outdated:
            if should_stop():
                break
            try:
                with self._lock, self._calls.writing(day):
                    pass
            except (sqlite3.DatabaseError, *_UNSTORABLE) as error:
                _log.error("the records of %s are not upgraded: %s", day, error)

    def insert(self, batch: Sequence[Record]) -> int:
        """Stores what is not stored yet and tells how many records that was.

        Raises `BadRecord` for the first record that can never be stored (some of the others may be stored by then), and
        `sqlite3.OperationalError` where the disk or the file will not take any for now.
        """
        days: dict[date, dict[bytes, Record]] = {}
        for record in batch:
            try:
                id = id_bytes(record.id)
            except ValueError as error:
                raise BadRecord(record.id, str(error)) from error
            days.setdefault(day_of(id_ms(id)), {}).setdefault(id, record)
        with self._lock:
            return sum(self._insert_day(day, records) for day, records in days.items())

    def appraise(self, day: date, repricing: Repricing) -> Repriced:
        """What pricing a day again would come to. Changes nothing."""
        with self._calls.reading(day) as connection:
            return appraise(connection, repricing) if connection is not None else Repriced()

    def reprice(self, day: date, repricing: Repricing) -> Repriced:
        """Prices a day's calls again, all of them or, on any failure, none."""
        with self._lock, self._calls.writing(day) as connection:
            return reprice(connection, repricing)

    def days(self) -> list[date]:
        """The days that have records, the newest first."""
        return self._calls.days()

    def content_days(self) -> list[date]:
        """The days of which something said is kept, the newest first."""
        return self._content.days()

    def drop(self, day: date) -> None:
        """Removes a day with all that belongs to it."""
        with self._lock:
            self._content.drop(day)
            self._calls.drop(day)

    def drop_content(self, day: date) -> None:
        """Removes what was said on a day."""
        with self._lock:
            self._content.drop(day)

    def close(self) -> None:
        with self._lock:
            self._calls.close()
            self._content.close()

    def _insert_day(self, day: date, records: dict[bytes, Record]) -> int:
        """Nearly always all of them are new, so that none is looked for before one turns out not to be."""
        if self._newest is None or day > self._newest:
            self._begin(day)
        try:
            return self._insert_new(day, list(records.items()))
        except _UNSTORABLE:
            return self._insert_halves(day, self._missing(day, records))

    def _begin(self, day: date) -> None:
        """Folds what is left of the day before. Where that fails, sums of that day are slower to read, not wrong."""
        days = self._calls.days()
        earlier = next((other for other in days if other < day), None)
        if earlier:
            try:
                with self._calls.writing(earlier) as connection:
                    fold(connection)
            except (sqlite3.Error, Misconfigured) as error:
                _log.warning("the last sums of %s are not folded: %s", earlier, error)
        self._newest = max([day, *days[:1]])

    def _insert_halves(self, day: date, fresh: Fresh) -> int:
        """Finds out whose fault it is that they cannot be stored together."""
        try:
            return self._insert_new(day, fresh)
        except _UNSTORABLE as error:
            if len(fresh) == 1:
                raise BadRecord(fresh[0][1].id, str(error)) from error
        middle = len(fresh) // 2
        return self._insert_halves(day, fresh[:middle]) + self._insert_halves(day, fresh[middle:])

    def _missing(self, day: date, records: dict[bytes, Record]) -> Fresh:
        with self._calls.writing(day) as connection:
            return [row for row in records.items() if connection.execute(_FIND, row[:1]).fetchone() is None]

    def _insert_new(self, day: date, fresh: Fresh) -> int:
        """Raises `sqlite3.IntegrityError` where one of them is stored already; none is then."""
        said = [(id, each.content.messages, each.content.result) for id, each in fresh if each.content]
        if said:
            with self._content.writing(day) as connection:
                connection.executemany(_INSERT_CONTENT, said)
        if fresh:
            with self._calls.writing(day) as connection:
                connection.executemany(_INSERT_CALL, [_call_row(id, record) for id, record in fresh])
                connection.executemany(_INSERT_ATTEMPT, _attempt_rows(fresh))
                added = add_to_sums(connection, fresh)
                add_late(connection, added)
                fold(connection, max(key.hour for key in added) if day == self._newest else HOURS)
        return len(fresh)


def _call_row(id: bytes, record: Record) -> tuple[Any, ...]:
    fields = msgspec.structs.astuple(record)
    return (id, *fields[1:_ATTEMPTS], len(record.attempts), *fields[_ATTEMPTS + 2 :])


def _attempt_rows(fresh: Fresh) -> list[tuple[Any, ...]]:
    return [
        (
            id,
            n,
            attempt.provider,
            attempt.target,
            attempt.credential,
            attempt.why,
            attempt.error_type,
            attempt.waited_ms,
            attempt.first_token_ms,
            attempt.total_ms,
            attempt.cost_micros,
        )
        for id, record in fresh
        for n, attempt in enumerate(record.attempts, 1)
    ]
