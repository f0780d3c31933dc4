"""Where a benchmark of records keeps them: fresh files of SQLite, or a fresh server of PostgreSQL.

A place is sent to other processes, which open it for themselves.
"""

import sqlite3
import tempfile
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import psycopg
from msgspec import Struct
from sqlalchemy import make_url

from benchmarks.postgres import cpu_s_of, running_postgres
from dujiang.records.postgres.service import PostgresRecords
from dujiang.records.postgres.sink import PostgresSink
from dujiang.records.service import Records, SqliteRecords
from dujiang.records.sink import SqliteSink
from dujiang.records.stores import Store
from dujiang.storage.postgresql import address_of

Clock = Callable[[], float]


class Place(Protocol):
    def version(self) -> str:
        """Of the database, with its name."""
        ...

    def sink(self) -> Store: ...

    def records(self, clock: Clock) -> Records: ...

    def shares(self) -> Sequence["Place"]:
        """Two places that two processes may fill at once, each with days of its own."""
        ...

    def join(self) -> None:
        """What was stored in the shares is here."""
        ...

    def days_begun(self) -> int:
        """Here and in the shares."""
        ...

    def cpu_s(self) -> float | None:
        """What the database's own processes have used so far, None where it has none."""
        ...

    def settle(self) -> None:
        """What the database does by itself in time is done."""
        ...

    def size_bytes(self) -> int: ...


class SqlitePlace(Struct, frozen=True):
    directory: Path

    def version(self) -> str:
        return f"SQLite {sqlite3.sqlite_version}"

    def sink(self) -> Store:
        return SqliteSink(self.directory)

    def records(self, clock: Clock) -> Records:
        return SqliteRecords(self.directory, clock=clock)

    def shares(self) -> Sequence["SqlitePlace"]:
        return [SqlitePlace(self.directory / name) for name in ("first", "second")]

    def join(self) -> None:
        for share in self.shares():
            for file in share.directory.iterdir():
                file.rename(self.directory / file.name)
            share.directory.rmdir()

    def days_begun(self) -> int:
        return sum(1 for _ in self.directory.glob("**/????-??-??.db"))

    def cpu_s(self) -> float | None:
        return None

    def settle(self) -> None:
        """There is nothing to wait for."""

    def size_bytes(self) -> int:
        return sum(file.stat().st_size for file in self.directory.iterdir())


class PostgresPlace(Struct, frozen=True):
    url: str
    server_pid: int

    def version(self) -> str:
        return f"PostgreSQL {self._value('SHOW server_version')}"

    def sink(self) -> Store:
        return PostgresSink(address_of(make_url(self.url)))

    def records(self, clock: Clock) -> Records:
        return PostgresRecords(address_of(make_url(self.url)), clock=clock)

    def shares(self) -> Sequence["PostgresPlace"]:
        return [self, self]

    def join(self) -> None:
        """They are this place."""

    def days_begun(self) -> int:
        return self._value("SELECT count(*) FROM pg_inherits WHERE inhparent = to_regclass('records.calls')")

    def cpu_s(self) -> float | None:
        return cpu_s_of(self.server_pid)

    def settle(self) -> None:
        """Statistics and visibility as autovacuum leaves them; here 90 days arrived in minutes."""
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute("VACUUM ANALYZE")

    def size_bytes(self) -> int:
        return self._value("SELECT pg_database_size(current_database())")

    def _value(self, statement: str) -> Any:
        with psycopg.connect(self.url) as connection:
            [(value,)] = connection.execute(statement.encode()).fetchall()
        return value


@contextmanager
def sqlite_place() -> Generator[Place]:
    with tempfile.TemporaryDirectory(prefix="dujiang-records-") as directory:
        yield SqlitePlace(Path(directory))


@contextmanager
def postgres_place() -> Generator[Place]:
    with running_postgres() as server:
        yield PostgresPlace(server.new_database(), server.pid)
