"""Folding: an hour's finest sums become part of all others once, when the next hour begins, instead of with each batch.

An hour is folded when it or a later one has rows in a coarser cube: the rows themselves are the state, so that it can
never disagree with them. Until then readers add the finest rows of the last hours. A record that comes late is added
to what its hour was folded into.
"""

from collections.abc import Mapping
from sqlite3 import Connection

from sqlalchemy import ScalarSelect, bindparam, func, select

from dujiang.records.cubes import COARSER, FINEST, HOURS, Key, coarser
from dujiang.records.rollups import add_to_rollups
from dujiang.records.sums import Sums, sums_of
from dujiang.records.tables import compiled, rollups


def last_folded_hour() -> ScalarSelect[int]:
    """As part of a statement: the day's last folded hour, -1 where there is none."""
    last = func.coalesce(func.max(rollups.c.hour), -1)
    return select(last).where(rollups.c.cube == COARSER[0]).scalar_subquery()


_LAST_FOLDED = compiled(select(last_folded_hour()))
_HOUR = compiled(select(rollups).where(rollups.c.cube == FINEST, rollups.c.hour == bindparam("hour")))
_KEY = len(Key._fields)


def add_late(connection: Connection, added: Mapping[Key, Sums]) -> None:
    """Adds what a batch added to the finest sums of folded hours to all others."""
    last = _last_folded(connection)
    late = {key: sums for key, sums in added.items() if key.hour <= last}
    if late:
        add_to_rollups(connection, coarser(late))


def fold(connection: Connection, until_hour: int = HOURS) -> None:
    """Folds every hour before `until_hour` that is not folded yet."""
    for hour in range(_last_folded(connection) + 1, until_hour):
        rows = connection.execute(_HOUR.text, _HOUR.values | {"hour": hour}).fetchall()
        finest = {Key(*row[:_KEY]): sums_of(row[_KEY:]) for row in rows}
        add_to_rollups(connection, coarser(finest))


def _last_folded(connection: Connection) -> int:
    return connection.execute(_LAST_FOLDED.text, _LAST_FOLDED.values).fetchone()[0]
