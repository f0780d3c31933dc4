"""Every place that records are kept in, for suites that must hold in all of them alike."""

import sqlite3
from collections.abc import Iterator
from contextlib import AbstractContextManager, closing, contextmanager, suppress
from datetime import date
from pathlib import Path
from typing import Any, Protocol

import psycopg
import pytest
from sqlalchemy import make_url

from benchmarks.postgres import Postgres
from dujiang.records.postgres.service import PostgresRecords
from dujiang.records.postgres.sink import PostgresSink
from dujiang.records.service import Records, SqliteRecords
from dujiang.records.sink import SqliteSink
from dujiang.records.stores import Store
from dujiang.storage.database import sqlite_url
from dujiang.storage.postgresql import address_of

_ROLLUPS = "SELECT cube, hour, calls, app, status"

KINDS = ("sqlite", "postgresql", "postgresql-debian")


class Home(Protocol):
    """One place. `sink` and `records` may be opened as often as is liked; whoever opens them closes them."""

    def sink(self) -> Store: ...

    def records(self, **options: Any) -> Records: ...

    def ask(self, statement: str) -> list[tuple[Any, ...]]:
        """The rows of a statement on all days, oldest first."""
        ...

    def rollups(self, day: date) -> list[tuple[Any, ...]]:
        """Cube, hour, calls, app and status of each of the day's rows."""
        ...

    def left(self) -> set[str]:
        """The days of which anything is left, in whatever form."""
        ...

    def refusing_sums(self) -> AbstractContextManager[None]:
        """The sums by user, which are written after all rows, cannot be written. There are some already."""
        ...

    def stored(self, text: str) -> str:
        """A text as it comes back."""
        ...


class SqliteHome:
    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def sink(self) -> Store:
        return SqliteSink(self.directory)

    def records(self, **options: Any) -> Records:
        return SqliteRecords(self.directory, **options)

    def ask(self, statement: str) -> list[tuple[Any, ...]]:
        suffix = ".content.db" if "FROM content" in statement else ".db"
        found: list[tuple[Any, ...]] = []
        for file in sorted(self.directory.glob(f"????-??-??{suffix}")):
            connection = sqlite3.connect(file)
            found += connection.execute(statement).fetchall()
            connection.close()
        return found

    def rollups(self, day: date) -> list[tuple[Any, ...]]:
        with closing(sqlite3.connect(self.directory / f"{day}.db")) as connection:
            return connection.execute(f"{_ROLLUPS} FROM rollups").fetchall()

    def left(self) -> set[str]:
        return {file.name[:10] for file in self.directory.iterdir() if file.name != "cursor.key"}

    @contextmanager
    def refusing_sums(self) -> Iterator[None]:
        for file in self.directory.glob("????-??-??.db"):
            connection = sqlite3.connect(file)
            connection.execute("ALTER TABLE users RENAME TO away")
            connection.close()
        yield
        for file in self.directory.glob("????-??-??.db"):
            connection = sqlite3.connect(file)
            connection.execute("ALTER TABLE away RENAME TO users")
            connection.close()

    def stored(self, text: str) -> str:
        return text


class PostgresHome:
    def __init__(self, url: str) -> None:
        self.url = url
        self.address = address_of(make_url(url))

    def sink(self) -> Store:
        return PostgresSink(self.address)

    def records(self, **options: Any) -> Records:
        return PostgresRecords(self.address, **options)

    def ask(self, statement: str) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.url, options="-c search_path=records") as connection:
            return connection.execute(statement.encode()).fetchall()

    def rollups(self, day: date) -> list[tuple[Any, ...]]:
        return self.ask(f"{_ROLLUPS} FROM rollups WHERE day = '{day}'")

    def left(self) -> set[str]:
        names = self.ask("SELECT relname FROM pg_class WHERE relkind = 'r' AND relname ~ '_[0-9]{8}$'")
        return {f"{name[-8:-4]}-{name[-4:-2]}-{name[-2:]}" for (name,) in names}

    @contextmanager
    def refusing_sums(self) -> Iterator[None]:
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute("ALTER TABLE records.users ADD CONSTRAINT nothing CHECK (calls < 0) NOT VALID")
            yield
            connection.execute("ALTER TABLE records.users DROP CONSTRAINT nothing")

    def stored(self, text: str) -> str:
        return text.replace("\0", "\ufffd")


@contextmanager
def new_database(kind: str, request: pytest.FixtureRequest) -> Iterator[str]:
    """The address of an empty database of PostgreSQL."""
    server: Postgres = request.getfixturevalue("debian_postgres" if kind == "postgresql-debian" else "postgres")
    url = server.new_database()
    yield url
    server.drop_database(url)


@contextmanager
def new_home(kind: str, request: pytest.FixtureRequest, directory: Path) -> Iterator[Home]:
    if kind == "sqlite":
        yield SqliteHome(directory)
        return
    with new_database(kind, request) as url:
        yield PostgresHome(url)


@pytest.fixture(params=KINDS)
def home(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Home]:
    with new_home(request.param, request, tmp_path / "records") as home:
        yield home


@pytest.fixture(scope="module", params=KINDS)
def shared_home(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    """One for all tests of a module that only read it, or that empty it first."""
    with new_home(request.param, request, tmp_path_factory.mktemp("home") / "records") as home:
        yield home


@contextmanager
def opened(home: Home, **options: Any) -> Iterator[tuple[Store, Records]]:
    """A sink and what reads it."""
    sink = home.sink()
    records = home.records(**options)
    try:
        yield sink, records
    finally:
        records.close()
        sink.close()


def empty(sink: Store) -> None:
    with suppress(FileNotFoundError):
        for day in sink.days():
            sink.drop(day)


@pytest.fixture(params=KINDS)
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The address of an empty database of each kind."""
    if request.param == "sqlite":
        yield sqlite_url(tmp_path / "data")
        return
    server: Postgres = request.getfixturevalue(
        "debian_postgres" if request.param == "postgresql-debian" else "postgres"
    )
    url = server.new_database()
    yield url
    server.drop_database(url)
