"""The sums of a day in its file: rows are added where they lie, histograms by a function of ours."""

from collections.abc import Iterator, Mapping
from sqlite3 import Connection
from typing import Any

from sqlalchemy import bindparam, select

from dujiang.records.cubes import FINEST, Key
from dujiang.records.rollups import UserKey
from dujiang.records.stats_sql import last_folded_hour
from dujiang.records.sums import Sums, sums_of
from dujiang.records.tables import accumulation, compiled, rollups, users

_ADD_ROLLUP = accumulation(rollups)
_ADD_USER = accumulation(users)
_LAST_FOLDED = compiled(select(last_folded_hour()))
_HOURS = rollups.c.hour.between(bindparam("first"), bindparam("last"))
_FINEST = compiled(select(rollups).where(rollups.c.cube == FINEST, _HOURS))
_KEY = len(Key._fields)


class SqliteSums:
    """`DaySums` inside the caller's transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def add_to_rollups(self, sums: Mapping[Key, Sums]) -> None:
        self._connection.executemany(_ADD_ROLLUP, _rows(sums))

    def add_to_users(self, sums: Mapping[UserKey, Sums]) -> None:
        self._connection.executemany(_ADD_USER, _rows(sums))

    def last_folded_hour(self) -> int:
        return self._connection.execute(_LAST_FOLDED.text, _LAST_FOLDED.values).fetchone()[0]

    def finest(self, hours: range) -> dict[Key, Sums]:
        values = _FINEST.values | {"first": hours.start, "last": hours.stop - 1}
        rows = self._connection.execute(_FINEST.text, values).fetchall()
        return {Key(*row[:_KEY]): sums_of(row[_KEY:]) for row in rows}


def _rows(sums: Mapping[Any, Sums]) -> Iterator[tuple[Any, ...]]:
    return ((*key, *each.row()) for key, each in sorted(sums.items(), key=lambda item: item[0]))
