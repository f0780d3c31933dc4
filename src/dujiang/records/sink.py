"""Stores batches of records in their days' files, each record exactly once."""

import sqlite3
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from threading import Lock
from typing import Any

import msgspec
from sqlalchemy import bindparam, select
from sqlalchemy.dialects import sqlite

from dujiang.records.drain import BadRecord
from dujiang.records.moments import day_of, id_bytes, id_ms
from dujiang.records.partitions import CALLS, CONTENT, Partitions
from dujiang.records.record import Record
from dujiang.records.rollups import add_to_sums
from dujiang.records.tables import attempts, calls, content, insertion

_UNSTORABLE = (ValueError, OverflowError, TypeError, sqlite3.IntegrityError, sqlite3.DataError, sqlite3.InterfaceError)
_FIND = str(select(calls.c.id).where(calls.c.id == bindparam("id")).compile(dialect=sqlite.dialect()))
_INSERT_CALL = insertion(calls)
_INSERT_ATTEMPT = insertion(attempts)
_INSERT_CONTENT = insertion(content, is_repeatable=True)

Fresh = list[tuple[bytes, Record]]


class SqliteSink:
    """Writes records under a directory and removes its days; `close()` it. Safe to use from several threads.

    One process writes: two would wait for each other, and a file that one drops the other might still be writing to.

    A day's calls, attempts and sums are one transaction, which first looks which ids it has: whatever is sent again,
    after a crash or because an answer was lost, is left out of all three. What was said goes to its own file before
    them, where a second writing changes nothing.
    """

    def __init__(self, directory: Path) -> None:
        self._calls = Partitions(directory, CALLS)
        self._content = Partitions(directory, CONTENT)
        self._lock = Lock()

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
        said = [(id, each.content.messages, each.content.result) for id, each in records.items() if each.content]
        if said:
            with self._content.writing(day) as connection:
                connection.executemany(_INSERT_CONTENT, said)
        with self._calls.writing(day) as connection:
            fresh = [row for row in records.items() if connection.execute(_FIND, row[:1]).fetchone() is None]
            if fresh:
                connection.executemany(_INSERT_CALL, [call_row(id, record) for id, record in fresh])
                connection.executemany(_INSERT_ATTEMPT, attempt_rows(fresh))
                add_to_sums(connection, fresh)
        return len(fresh)


def call_row(id: bytes, record: Record) -> tuple[Any, ...]:
    """The values of the columns of `calls`."""
    fields = msgspec.structs.astuple(record)
    return (id, *fields[1:-2], len(record.attempts))


def attempt_rows(fresh: Fresh) -> list[tuple[Any, ...]]:
    """The values of the columns of `attempts`, of all records."""
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
