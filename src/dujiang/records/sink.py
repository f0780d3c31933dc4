"""Stores batches of records in their days' files, each record exactly once."""

import logging
import sqlite3
from collections.abc import Callable, Sequence
from datetime import date
from functools import partial
from pathlib import Path
from threading import Lock

from sqlalchemy import bindparam, select
from sqlalchemy.dialects import sqlite

from dujiang.core.errors import Misconfigured
from dujiang.records.batches import Fresh, attempt_rows, by_day, call_row, content_rows, insert_halves
from dujiang.records.cubes import HOURS
from dujiang.records.folding import add_calls, fold
from dujiang.records.partitions import CALLS, CONTENT, Partitions
from dujiang.records.record import Record
from dujiang.records.repriced_files import appraise, reprice
from dujiang.records.repricing import Repriced, Repricing
from dujiang.records.sqlite_sums import SqliteSums
from dujiang.records.tables import attempts, calls, content, insertion

_UNSTORABLE = (ValueError, OverflowError, TypeError, sqlite3.IntegrityError, sqlite3.DataError, sqlite3.InterfaceError)
_FIND = str(select(calls.c.id).where(calls.c.id == bindparam("id")).compile(dialect=sqlite.dialect()))
_INSERT_CALL = insertion(calls)
_INSERT_ATTEMPT = insertion(attempts)
_INSERT_CONTENT = insertion(content, is_repeatable=True)

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
        with self._lock:
            return sum(self._insert_day(day, records) for day, records in by_day(batch).items())

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
            fresh = self._missing(day, records)
            return insert_halves(partial(self._insert_new, day), fresh, _UNSTORABLE)

    def _begin(self, day: date) -> None:
        """Folds what is left of the day before. Where that fails, sums of that day are slower to read, not wrong."""
        days = self._calls.days()
        earlier = next((other for other in days if other < day), None)
        if earlier:
            try:
                with self._calls.writing(earlier) as connection:
                    fold(SqliteSums(connection))
            except (sqlite3.Error, Misconfigured) as error:
                _log.warning("the last sums of %s are not folded: %s", earlier, error)
        self._newest = max([day, *days[:1]])

    def _missing(self, day: date, records: dict[bytes, Record]) -> Fresh:
        with self._calls.writing(day) as connection:
            return [row for row in records.items() if connection.execute(_FIND, row[:1]).fetchone() is None]

    def _insert_new(self, day: date, fresh: Fresh) -> int:
        """Raises `sqlite3.IntegrityError` where one of them is stored already; none is then."""
        said = content_rows(fresh)
        if said:
            with self._content.writing(day) as connection:
                connection.executemany(_INSERT_CONTENT, said)
        if fresh:
            with self._calls.writing(day) as connection:
                connection.executemany(_INSERT_CALL, [call_row(id, record) for id, record in fresh])
                connection.executemany(_INSERT_ATTEMPT, attempt_rows(fresh))
                sums = SqliteSums(connection)
                latest_hour = add_calls(sums, fresh)
                fold(sums, latest_hour if day == self._newest else HOURS)
        return len(fresh)
