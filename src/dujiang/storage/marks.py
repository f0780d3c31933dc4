"""Change marks: how processes notice that others changed something, without reading all of it."""

from sqlalchemy import Connection, insert, select, update

from dujiang.storage.tables import marks


def raise_mark(connection: Connection, name: str) -> int:
    """The next number, in a transaction that writes: whoever sees it sees what was written with it."""
    is_it = marks.c.name == name
    if connection.execute(update(marks).where(is_it).values(number=marks.c.number + 1)).rowcount == 0:
        connection.execute(insert(marks).values(name=name, number=1))
    return read_mark(connection, name)


def read_mark(connection: Connection, name: str) -> int:
    """The last number, 0 before the first change."""
    return connection.execute(select(marks.c.number).where(marks.c.name == name)).scalar() or 0
