"""Day's files of an earlier release: their calls stay as they are, their sums are counted again."""

from collections.abc import Iterator
from sqlite3 import Connection
from typing import Any

from sqlalchemy import bindparam, select

from dujiang.records.folding import fold
from dujiang.records.moments import id_text
from dujiang.records.record import Record
from dujiang.records.rollups import add_to_sums
from dujiang.records.tables import calls, compiled, creation, rollups, users

_AT_ONCE = 10_000
_NEXT = compiled(select(calls).where(calls.c.id > bindparam("after")).order_by(calls.c.id).limit(_AT_ONCE))


def count_again(connection: Connection) -> None:
    """Makes the tables of sums anew and fills them from the calls, inside the caller's transaction."""
    for table in (rollups, users):
        connection.execute(f"DROP TABLE IF EXISTS {table.name}")
    for statement in creation((rollups, users)):
        connection.execute(statement)
    for rows in _calls(connection):
        add_to_sums(connection, [(row[0], Record(id_text(row[0]), *row[1:-1])) for row in rows])
    fold(connection)


def _calls(connection: Connection) -> Iterator[list[tuple[Any, ...]]]:
    """All calls by id, some at once."""
    after = b""
    while rows := connection.execute(_NEXT.text, _NEXT.values | {"after": after}).fetchall():
        yield rows
        after = rows[-1][0]
