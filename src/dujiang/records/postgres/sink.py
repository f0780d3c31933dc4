"""Stores batches of records in their days' partitions, each record exactly once."""

from collections.abc import Iterable, Sequence
from datetime import date
from typing import Any

import psycopg
from psycopg import Cursor, sql

from dujiang.records.drain import BadRecord
from dujiang.records.moments import day_of, id_bytes, id_ms
from dujiang.records.postgres.days import PostgresDays
from dujiang.records.postgres.rollups import accumulate
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
    rollups,
    type_names,
    users,
)
from dujiang.records.postgres.texts import storable
from dujiang.records.record import Record
from dujiang.records.rollups import summed
from dujiang.records.sink import Fresh, attempt_rows, call_row
from dujiang.storage.postgresql import Address

DAY_LOCKS = 0x64756A
"""The space of advisory locks in which a number of a day is that day's."""

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

    PostgreSQL stores no NUL in a text: each becomes U+FFFD, since a record with a mark in it is worth more than none.
    """

    def __init__(self, address: Address) -> None:
        """Makes the tables where there are none. Raises `Misconfigured` for those of a later release."""
        super().__init__(address)
        self._session = Session(address)
        self._known: set[date] = set()
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
        days: dict[date, dict[bytes, Record]] = {}
        for record in batch:
            try:
                id = id_bytes(record.id)
            except ValueError as error:
                raise BadRecord(record.id, str(error)) from error
            days.setdefault(day_of(id_ms(id)), {}).setdefault(id, record)
        return sum(self._insert_day(day, records) for day, records in sorted(days.items()))

    def close(self) -> None:
        super().close()
        self._session.close()

    def _insert_day(self, day: date, records: dict[bytes, Record]) -> int:
        try:
            return self._insert_together(day, records)
        except psycopg.errors.UndefinedTable:  # dropped since we last wrote to it
            self._known.discard(day)
            return self._insert_day(day, records)
        except _UNSTORABLE:
            return self._insert_mended(day, {id: storable(record) for id, record in records.items()})

    def _insert_mended(self, day: date, records: dict[bytes, Record]) -> int:
        try:
            return self._insert_together(day, records)
        except _UNSTORABLE:
            return self._insert_each(day, records)

    def _insert_each(self, day: date, records: dict[bytes, Record]) -> int:
        """The slow way, which finds out whose fault it is."""
        count = 0
        for id, record in records.items():
            try:
                count += self._insert_together(day, {id: record})
            except _UNSTORABLE as error:
                raise BadRecord(record.id, str(error)) from error
        return count

    def _insert_together(self, day: date, records: dict[bytes, Record]) -> int:
        with self._session.transaction() as cursor:
            cursor.execute("SELECT pg_advisory_xact_lock(%s, %s)", (DAY_LOCKS, day.toordinal()))
            if day not in self._known:
                _make(cursor, day)
            known = sql.SQL("SELECT id FROM {} WHERE id = ANY(%b)").format(Partition(calls, day).identifier)
            stored = {row[0] for row in cursor.execute(known, (list(records),))}
            fresh = [row for row in records.items() if row[0] not in stored]
            if fresh:
                _write(cursor, day, fresh)
        self._known.add(day)
        return len(fresh)


def _make(cursor: Cursor[Any], day: date) -> None:
    """Those of the day's partitions that are not there."""
    for partition in (Partition(table, day) for table in OF_A_DAY):
        cursor.execute("SELECT to_regclass(%s) IS NULL", (f"{SCHEMA}.{partition.name}",))
        [(is_missing,)] = cursor.fetchall()
        if is_missing:
            for statement in partition_creation(partition):
                cursor.execute(statement)


def _write(cursor: Cursor[Any], day: date, fresh: Fresh) -> None:
    by_hour, by_user = summed(fresh)
    said = [(id, each.content.messages, each.content.result) for id, each in fresh if each.content]
    _copy(cursor, Partition(calls, day), (call_row(id, record) for id, record in fresh))
    _copy(cursor, Partition(attempts, day), attempt_rows(fresh))
    _copy(cursor, Partition(content, day), said)
    accumulate(cursor, Partition(rollups, day), by_hour)
    accumulate(cursor, Partition(users, day), by_user)


def _copy(cursor: Cursor[Any], partition: Partition, rows: Iterable[tuple[Any, ...]]) -> None:
    statement = sql.SQL("COPY {} FROM STDIN (FORMAT BINARY)").format(partition.identifier)
    with cursor.copy(statement) as copy:
        copy.set_types(type_names(partition.table.columns))
        for row in rows:
            copy.write_row(row)
