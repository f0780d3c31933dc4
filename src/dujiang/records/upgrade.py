"""Day's files of an earlier release: what was recorded stays as it is, columns are added, sums are counted again."""

from collections.abc import Iterator
from sqlite3 import Connection
from typing import Any

from sqlalchemy import bindparam, select
from sqlalchemy.dialects import sqlite
from sqlalchemy.schema import CreateColumn

from dujiang.records.folding import add_calls, fold
from dujiang.records.moments import id_text
from dujiang.records.record import Record
from dujiang.records.sqlite_sums import SqliteSums
from dujiang.records.tables import calls, compiled, creation, rollups, users

_AT_ONCE = 10_000
_NEXT = compiled(select(calls).where(calls.c.id > bindparam("after")).order_by(calls.c.id).limit(_AT_ONCE))
_ATTEMPTS = list(calls.columns).index(calls.c.attempts)


def upgrade_calls(connection: Connection) -> None:
    """Brings a file of any earlier release to this one's shape, inside the caller's transaction."""
    present = {name for _, name, *_ in connection.execute("PRAGMA table_info(calls)")}
    for column in calls.columns:
        if column.name not in present:
            added = CreateColumn(column).compile(dialect=sqlite.dialect())
            connection.execute(f"ALTER TABLE calls ADD COLUMN {added}")
    count_again(connection)


def count_again(connection: Connection) -> None:
    """Makes the tables of sums anew and fills them from the calls, inside the caller's transaction."""
    for table in (rollups, users):
        connection.execute(f"DROP TABLE IF EXISTS {table.name}")
    for statement in creation((rollups, users)):
        connection.execute(statement)
    sums = SqliteSums(connection)
    for rows in _calls(connection):
        add_calls(sums, [(row[0], recorded(row)) for row in rows])
    fold(sums)


def recorded(row: tuple[Any, ...]) -> Record:
    """A call as it was recorded, without its attempts and what was said: sums know nothing of these."""
    return Record(id_text(row[0]), *row[1:_ATTEMPTS])


def _calls(connection: Connection) -> Iterator[list[tuple[Any, ...]]]:
    """All calls by id, some at once."""
    after = b""
    while rows := connection.execute(_NEXT.text, _NEXT.values | {"after": after}).fetchall():
        yield rows
        after = rows[-1][0]
