"""Where a benchmark of records keeps them: fresh files of SQLite, or a fresh server of PostgreSQL."""

import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

import psycopg
from sqlalchemy import make_url

from benchmarks.postgres import Postgres, running_postgres
from dujiang.records.postgres.service import PostgresRecords
from dujiang.records.postgres.sink import PostgresSink
from dujiang.records.service import Records, SqliteRecords
from dujiang.records.sink import SqliteSink
from dujiang.records.stores import Store
from dujiang.storage.postgresql import address_of


class Place(Protocol):
    def sink(self) -> Store: ...

    def records(self) -> Records: ...

    def cpu_s(self) -> float | None:
        """What the database's own processes have used so far, None where it has none."""
        ...

    def settle(self) -> None:
        """What the database does by itself in time is done."""
        ...

    def size_bytes(self) -> int: ...


class SqlitePlace:
    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def sink(self) -> Store:
        return SqliteSink(self._directory)

    def records(self) -> Records:
        return SqliteRecords(self._directory)

    def cpu_s(self) -> float | None:
        return None

    def settle(self) -> None:
        """There is nothing to wait for."""

    def size_bytes(self) -> int:
        return sum(file.stat().st_size for file in self._directory.iterdir())


class PostgresPlace:
    def __init__(self, server: Postgres) -> None:
        self._server = server
        self._url = server.new_database()
        self._address = address_of(make_url(self._url))

    def sink(self) -> Store:
        return PostgresSink(self._address)

    def records(self) -> Records:
        return PostgresRecords(self._address)

    def cpu_s(self) -> float | None:
        return self._server.cpu_s()

    def settle(self) -> None:
        """Statistics and visibility as autovacuum leaves them; here 90 days arrived in minutes."""
        with psycopg.connect(self._url, autocommit=True) as connection:
            connection.execute("VACUUM ANALYZE")

    def size_bytes(self) -> int:
        with psycopg.connect(self._url) as connection:
            [(size,)] = connection.execute("SELECT pg_database_size(current_database())").fetchall()
        return int(size)


@contextmanager
def sqlite_place() -> Generator[Place]:
    with tempfile.TemporaryDirectory(prefix="dujiang-records-") as directory:
        yield SqlitePlace(Path(directory))


@contextmanager
def postgres_place() -> Generator[Place]:
    with running_postgres() as server:
        yield PostgresPlace(server)
