"""Adds a batch to the sums of its day.

A histogram is bytes that only Python adds, so rows are read, added to and written back whole. That is safe because the
caller holds the day's lock: nobody else is between reading and writing, no server ever waits for two of these rows in
two orders, and a batch needs two statements a table however many rows it has. Adding in SQL would need an arbitrarily
long number or 256 columns for each of the two histograms, in rows that are read far more often than they are written.
"""

from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any

from psycopg import Cursor, sql

from dujiang.records.cubes import COARSER, FINEST, Key
from dujiang.records.postgres.tables import Partition, rollups, type_names, users
from dujiang.records.rollups import UserKey
from dujiang.records.sums import Sums, sums_of
from dujiang.records.tables import HISTOGRAMS, SUMS

_OWN = ("day",)
_VALUES = (*SUMS, *HISTOGRAMS)


class PostgresSums:
    """`DaySums` inside the caller's transaction, which holds the day's lock."""

    def __init__(self, cursor: Cursor[Any], day: date) -> None:
        self._cursor = cursor
        self._rollups = Partition(rollups, day)
        self._users = Partition(users, day)

    def add_to_rollups(self, sums: Mapping[Key, Sums]) -> None:
        _accumulate(self._cursor, self._rollups, sums)

    def add_to_users(self, sums: Mapping[UserKey, Sums]) -> None:
        _accumulate(self._cursor, self._users, sums)

    def last_folded_hour(self) -> int:
        last = sql.SQL("SELECT coalesce(max(hour), -1) FROM {} WHERE cube = %s").format(self._rollups.identifier)
        [(hour,)] = self._cursor.execute(last, (COARSER[0],)).fetchall()
        return hour

    def finest(self, hours: range) -> dict[Key, Sums]:
        wanted = sql.SQL("SELECT {} FROM {} WHERE cube = %s AND hour BETWEEN %s AND %s").format(
            sql.SQL(", ").join(map(sql.Identifier, (*Key._fields, *_VALUES))), self._rollups.identifier
        )
        rows = self._cursor.execute(wanted, (FINEST, hours.start, hours.stop - 1)).fetchall()
        return {Key(*row[: -len(_VALUES)]): sums_of(row[-len(_VALUES) :]) for row in rows}


def _accumulate(cursor: Cursor[Any], partition: Partition, batch: Mapping[Any, Sums]) -> None:
    """Adds to the rows that there are, and makes those that there are not."""
    keys = sorted(batch)
    cursor.execute(_selection(partition), _columns(keys))
    written = {key: batch[key] for key in keys}
    for row in cursor:
        stored = sums_of(row[-len(_VALUES) :])
        key = row[: -len(_VALUES)]
        stored.add(batch[key])
        written[key] = stored
    rows = [(*key, *sums.row()) for key, sums in written.items()]
    cursor.execute(_writing(partition), [partition.day, *_columns(rows)])


def _columns(rows: Sequence[tuple[Any, ...]]) -> list[list[Any]]:
    return [list(column) for column in zip(*rows, strict=True)]


def _key(partition: Partition) -> list[str]:
    """In the order of the columns, which is that of `Key` and `UserKey`; the primary key may have another."""
    return [column.name for column in partition.table.columns if column.primary_key and column.name not in _OWN]


def _selection(partition: Partition) -> sql.Composed:
    names = _key(partition)
    return sql.SQL("SELECT {} FROM {} AS r JOIN unnest({}) AS k({}) ON {}").format(
        sql.SQL(", ").join(sql.Identifier("r", name) for name in (*names, *_VALUES)),
        partition.identifier,
        _arrays(partition, names),
        sql.SQL(", ").join(map(sql.Identifier, names)),
        sql.SQL(" AND ").join(
            sql.SQL("{} = {}").format(sql.Identifier("r", name), sql.Identifier("k", name)) for name in names
        ),
    )


def _writing(partition: Partition) -> sql.Composed:
    names = [*_key(partition), *_VALUES]
    return sql.SQL(
        "INSERT INTO {} ({}, day) SELECT k.*, %s FROM unnest({}) AS k ON CONFLICT ({}) DO UPDATE SET {}"
    ).format(
        partition.identifier,
        sql.SQL(", ").join(map(sql.Identifier, names)),
        _arrays(partition, names),
        sql.SQL(", ").join(map(sql.Identifier, (*_key(partition), *_OWN))),
        sql.SQL(", ").join(sql.SQL("{0} = excluded.{0}").format(sql.Identifier(name)) for name in _VALUES),
    )


def _arrays(partition: Partition, names: Sequence[str]) -> sql.Composed:
    types = type_names(partition.table.c[name] for name in names)
    return sql.SQL(", ").join(sql.SQL("%b::{}[]").format(sql.Identifier(name)) for name in types)
