"""Stores batches of records in their days' partitions, each record exactly once."""

import logging
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import contextmanager
from datetime import date
from functools import partial
from typing import Any

import psycopg
from psycopg import Cursor, sql

from dujiang.records.batches import Fresh, attempt_rows, by_day, call_row, content_rows, insert_halves
from dujiang.records.cubes import HOURS
from dujiang.records.folding import add_calls, fold
from dujiang.records.postgres.days import PostgresDays
from dujiang.records.postgres.repricing import DayToPrice
from dujiang.records.postgres.rollups import PostgresSums
from dujiang.records.postgres.schema import prepare
from dujiang.records.postgres.session import Session
from dujiang.records.postgres.tables import (
    OF_A_DAY,
    SCHEMA,
    Partition,
    attempts,
    calls,
    content,
    partition_creation,
    type_names,
)
from dujiang.records.postgres.texts import storable
from dujiang.records.record import Record
from dujiang.records.repricing import Repriced, Repricing
from dujiang.storage.postgresql import Address

DAY_LOCKS = 0x64756A
"""The space of advisory locks in which a number of a day is that day's."""

_log = logging.getLogger(__name__)

_UNSTORABLE = (
    ValueError,
    OverflowError,
    TypeError,
    psycopg.DataError,
    psycopg.errors.NotNullViolation,
    psycopg.errors.ProgramLimitExceeded,
)


class PostgresSink(PostgresDays):
    """Writes records and removes days; `close()` it. Safe to use from several threads and several servers.

    All that a batch adds to a day is one transaction, which first takes the day's lock: servers that share a database
    take turns, each waits for one lock at a time, and which ids a day has cannot change between looking and writing.
    Whatever is sent again, after a crash or because an answer was lost, is left out of rows and sums alike.

    Hours are folded as `SqliteSink` does, by whichever server comes first; for the others they are then folded hours.

    PostgreSQL stores no NUL in a text: each becomes U+FFFD, since a record with a mark in it is worth more than none.
    """

    def __init__(self, address: Address) -> None:
        """Makes the tables where there are none. Raises `Misconfigured` for those of another release."""
        super().__init__(address)
        self._session = Session(address)
        self._known: set[date] = set()
        self._newest: date | None = None
        try:
            prepare(self._session)
        except BaseException:
            self.close()
            raise

    def insert(self, batch: Sequence[Record]) -> int:
        """Stores what is not stored yet and tells how many records that was.

        Raises `BadRecord` for the first record that can never be stored (some of the others may be stored by then), and
        `psycopg.Error` where the database takes none for now.
        """
        return sum(self._insert_day(day, records) for day, records in by_day(batch).items())

    def upgrade(self, should_stop: Callable[[], bool] = lambda: False) -> None:
        """There is nothing to do: no release before this one kept records here, and `__init__` refuses other tables."""

    def appraise(self, day: date, repricing: Repricing) -> Repriced:
        """What pricing a day again would come to. Changes nothing."""
        with self._writing(day) as cursor:
            return DayToPrice(cursor, day).appraise(repricing)

    def reprice(self, day: date, repricing: Repricing) -> Repriced:
        """Prices a day's calls again, all of them or, on any failure, none; other servers wait with that day."""
        with self._writing(day) as cursor:
            return DayToPrice(cursor, day).reprice(repricing)

    def close(self) -> None:
        super().close()
        self._session.close()

    def _insert_day(self, day: date, records: dict[bytes, Record]) -> int:
        if self._newest is None or day > self._newest:
            self._begin(day)
        try:
            return self._insert_together(day, list(records.items()))
        except psycopg.errors.UndefinedTable:  # dropped since we last wrote to it
            self._known.discard(day)
            return self._insert_day(day, records)
        except _UNSTORABLE:
            mended = [(id, storable(record)) for id, record in records.items()]
            return insert_halves(partial(self._insert_together, day), mended, _UNSTORABLE)

    def _begin(self, day: date) -> None:
        """Folds what is left of the day before. Where that day's sums are damaged or gone they hold up nothing.

        Raises `psycopg.OperationalError` where the database does not answer, which would take no record either.
        """
        days = self.days()
        earlier = next((other for other in days if other < day), None)
        if earlier:
            try:
                with self._writing(earlier) as cursor:
                    fold(PostgresSums(cursor, earlier))
            except psycopg.OperationalError:
                raise
            except psycopg.Error as error:
                _log.warning("the last sums of %s are not folded: %s", earlier, type(error).__name__)
        self._newest = max([day, *days[:1]])

    def _insert_together(self, day: date, records: Fresh) -> int:
        with self._writing(day) as cursor:
            if day not in self._known:
                _make(cursor, day)
            known = sql.SQL("SELECT id FROM {} WHERE id = ANY(%b)").format(Partition(calls, day).identifier)
            stored = {row[0] for row in cursor.execute(known, ([id for id, _ in records],))}
            fresh = [row for row in records if row[0] not in stored]
            if fresh:
                self._write(cursor, day, fresh)
        self._known.add(day)
        return len(fresh)

    def _write(self, cursor: Cursor[Any], day: date, fresh: Fresh) -> None:
        _copy(cursor, Partition(calls, day), (call_row(id, record) for id, record in fresh))
        _copy(cursor, Partition(attempts, day), attempt_rows(fresh))
        _copy(cursor, Partition(content, day), content_rows(fresh))
        sums = PostgresSums(cursor, day)
        latest_hour = add_calls(sums, fresh)
        fold(sums, latest_hour if day == self._newest else HOURS)

    @contextmanager
    def _writing(self, day: date) -> Generator[Cursor[Any]]:
        """A transaction that holds the day's lock."""
        with self._session.transaction() as cursor:
            cursor.execute("SELECT pg_advisory_xact_lock(%s, %s)", (DAY_LOCKS, day.toordinal()))
            yield cursor


def _make(cursor: Cursor[Any], day: date) -> None:
    """Those of the day's partitions that are not there."""
    for partition in (Partition(table, day) for table in OF_A_DAY):
        cursor.execute("SELECT to_regclass(%s) IS NULL", (f"{SCHEMA}.{partition.name}",))
        [(is_missing,)] = cursor.fetchall()
        if is_missing:
            for statement in partition_creation(partition):
                cursor.execute(statement)


def _copy(cursor: Cursor[Any], partition: Partition, rows: Iterable[tuple[Any, ...]]) -> None:
    statement = sql.SQL("COPY {} FROM STDIN (FORMAT BINARY)").format(partition.identifier)
    with cursor.copy(statement) as copy:
        copy.set_types(type_names(partition.table.columns))
        for row in rows:
            copy.write_row(row)
