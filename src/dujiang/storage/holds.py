"""Targets that an operator took out, for as long as nobody puts them back: whatever restarts or reloads meanwhile."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Literal

import msgspec
from msgspec import Struct
from sqlalchemy import ColumnElement, Connection, delete, insert, select, true

from dujiang.storage.audit import Deed, note
from dujiang.storage.database import Database
from dujiang.storage.marks import raise_mark, read_mark
from dujiang.storage.tables import holds

MARK = "holds"

State = Literal["drained", "ejected"]


class Selection(Struct, frozen=True):
    """Some targets, by names of which an empty one stands for all. `target` is `provider/model`, as in records."""

    provider: str = ""
    target: str = ""
    credential: str = ""

    def covers(self, provider: str, target: str, credential: str) -> bool:
        """Whether a target is one of them."""
        return self.provider in {"", provider} and self.target in {"", target} and self.credential in {"", credential}

    def includes(self, other: "Selection") -> bool:
        """Whether all of another's are among them, by their names."""
        return self.covers(other.provider, other.target, other.credential)

    def __str__(self) -> str:
        names = (f"{name}={value}" for name, value in msgspec.structs.asdict(self).items() if value)
        return ",".join(names) or "*"


class Hold(Struct, frozen=True):
    """What an operator said of some targets. *Drained*: nothing is wrong. *Ejected*: something is."""

    of: Selection
    state: State
    reason: str
    author: str
    since: datetime


class Holds(Struct, frozen=True):
    """All that is held, the most particular first; `mark` grows with every change."""

    mark: int = 0
    held: tuple[Hold, ...] = ()

    def of(self, provider: str, target: str, credential: str) -> Hold | None:
        """What holds of a target."""
        return next((hold for hold in self.held if hold.of.covers(provider, target, credential)), None)


def read_holds(database: Database) -> Holds:
    with database.read() as connection:
        return _holds(connection)


def changed_holds(database: Database, mark: int) -> Holds | None:
    """All that is held, None where nothing changed since `mark`."""
    with database.read() as connection:
        return _holds(connection) if read_mark(connection, MARK) > mark else None


def hold(database: Database, of: Selection, state: State, reason: str, author: str) -> Holds:
    """Take targets out. What was said of the very same ones before is replaced."""
    row = {**msgspec.structs.asdict(of), "state": state, "reason": reason, "author": author}

    def change(connection: Connection) -> None:
        connection.execute(delete(holds).where(_exactly(of)))
        connection.execute(insert(holds).values(**row, created_at=datetime.now(UTC)))

    return _changed(database, Deed(author, state, _subject(of), detail=reason), change)


def release(database: Database, of: Selection, author: str) -> Holds:
    """Put targets back: whatever was said of some that are all among them is forgotten."""
    return _changed(
        database,
        Deed(author, "restored", _subject(of)),
        lambda connection: connection.execute(delete(holds).where(_within(of))),
    )


def _changed(database: Database, deed: Deed, change: Callable[[Connection], object]) -> Holds:
    with database.write() as connection:
        raise_mark(connection, MARK)
        change(connection)
        note(connection, deed)
        return _holds(connection)


def _holds(connection: Connection) -> Holds:
    rows = connection.execute(select(holds)).all()
    held = [
        Hold(Selection(row.provider, row.target, row.credential), row.state, row.reason, row.author, row.created_at)
        for row in rows
    ]
    return Holds(read_mark(connection, MARK), tuple(sorted(held, key=_breadth)))


def _breadth(hold: Hold) -> tuple[int, str, str, str]:
    """The more names are said, the sooner it counts."""
    names = msgspec.structs.astuple(hold.of)
    return (names.count(""), *names)


def _subject(of: Selection) -> str:
    return f"targets.{of}"


def _exactly(of: Selection) -> ColumnElement[bool]:
    return (holds.c.provider == of.provider) & (holds.c.target == of.target) & (holds.c.credential == of.credential)


def _within(of: Selection) -> ColumnElement[bool]:
    found: ColumnElement[bool] = true()
    for name, value in msgspec.structs.asdict(of).items():
        if value:
            found &= holds.c[name] == value
    return found
