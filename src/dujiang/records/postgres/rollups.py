"""Adds a batch to the sums of its day.

A histogram is bytes that only Python adds, so rows are read, added to and written back whole. That is safe because the
caller holds the day's lock: nobody else is between reading and writing, no server ever waits for two of these rows in
two orders, and a batch needs two statements a table however many rows it has. Adding in SQL would need an arbitrarily
long number or 256 columns for each of the two histograms, in rows that are read far more often than they are written.
"""

from collections.abc import Sequence
from typing import Any

from psycopg import Cursor, sql

from dujiang.records.histogram import unpacked
from dujiang.records.postgres.tables import Partition, type_names
from dujiang.records.rollups import ByKey, Sums
from dujiang.records.tables import HISTOGRAMS, SUMS

_OWN = ("day",)
_VALUES = (*SUMS, *HISTOGRAMS)


def accumulate(cursor: Cursor[Any], partition: Partition, batch: ByKey) -> None:
    """Adds to the rows that there are, and makes those that there are not."""
    keys = sorted(batch)
    cursor.execute(_selection(partition), _columns(keys))
    found = {row[: -len(_VALUES)]: _sums_of(row[-len(_VALUES) :]) for row in cursor}
    for key, sums in found.items():
        sums.add(batch[key])
    written = [(*key, *found.get(key, batch[key]).row()) for key in keys]
    cursor.execute(_writing(partition), [partition.day, *_columns(written)])


def _sums_of(row: Sequence[Any]) -> Sums:
    return Sums(*row[: len(SUMS)], *map(unpacked, row[len(SUMS) :]))


def _columns(rows: Sequence[tuple[Any, ...]]) -> list[list[Any]]:
    return [list(column) for column in zip(*rows, strict=True)]


def _key(partition: Partition) -> list[str]:
    return [column.name for column in partition.table.primary_key if column.name not in _OWN]


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
