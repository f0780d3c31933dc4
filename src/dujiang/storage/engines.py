"""What a kind of database must bring along for `Database` to work on it."""

from msgspec import Struct
from sqlalchemy import Connection, Engine

WRITING = "is_writing"
"""The execution option by which a transaction says, at its begin, that it writes."""


class Engines(Struct, frozen=True):
    """One database, opened in three ways; they may share connections.

    `label` names it in messages and holds no secret.
    """

    reading: Engine
    writing: Engine
    migrating: Engine
    label: str

    def dispose(self) -> None:
        for engine in (self.reading, self.writing, self.migrating):
            engine.dispose()


def is_writing(connection: Connection) -> bool:
    return bool(connection.get_execution_options().get(WRITING))
