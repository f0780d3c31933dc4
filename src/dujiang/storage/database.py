"""The database, SQLite or PostgreSQL, through SQLAlchemy Core. Features declare their tables on `metadata`."""

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

from sqlalchemy import Connection, MetaData, inspect, text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, SQLAlchemyError

from dujiang.core.errors import AppError, Misconfigured
from dujiang.storage.engines import Engines
from dujiang.storage.postgresql import is_postgresql, open_server
from dujiang.storage.sqlite import open_file

EXPECTED_SCHEMA = "0006"
"""The revision that this release reads and writes; the last one in `dujiang.migrations` (a test holds them equal)."""

_CONSTRAINT_NAMES = {
    "ix": "ix_%(column_0_label)s",
    "uq": "uq_%(table_name)s_%(column_0_name)s",
    "fk": "fk_%(table_name)s_%(column_0_name)s",
    "pk": "pk_%(table_name)s",
}

metadata = MetaData(naming_convention=_CONSTRAINT_NAMES)


class DatabaseAway(AppError):
    """The database does not answer, or is locked for too long."""

    status = 503
    code = "database_away"


@contextmanager
def answering() -> Generator[None]:
    """Raises `DatabaseAway` for whatever a database that is away raises within the block."""
    try:
        yield
    except SQLAlchemyError as error:
        message = "The database does not answer now: try again."
        raise DatabaseAway(message, reason=type(error).__name__, retry_after_s=5.0) from error


class Database:
    """Owns the connections to one database. Use it as a context manager, or `close()` it.

    `label` names it in messages and holds no secret.
    """

    def __init__(self, engines: Engines) -> None:
        self._engines = engines
        self.label = engines.label

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @contextmanager
    def read(self) -> Generator[Connection]:
        """A transaction that sees one state of the database and changes nothing."""
        with self._engines.reading.begin() as connection:
            yield connection

    @contextmanager
    def write(self) -> Generator[Connection]:
        """A transaction beside which no other writes, from its start: what it read cannot change before it writes.

        It commits at the end of the block and rolls back on any exception. SQLite has a lock for that; on PostgreSQL
        it is an advisory one, which all who write through here take first.
        """
        with self._engines.writing.begin() as connection:
            yield connection

    @contextmanager
    def migrate(self) -> Generator[Connection]:
        """As `write`, for as long as it takes: an index on a large table has no deadline."""
        with self._engines.migrating.begin() as connection:
            yield connection

    def schema_version(self) -> str | None:
        """The revision that the database is at, None when it has none."""
        with self.read() as connection:
            return schema_version(connection)

    def require_schema(self) -> None:
        """Raises `Misconfigured`, saying what to do, unless the schema is the one this release was written for."""
        version = self.schema_version()
        if version == EXPECTED_SCHEMA:
            return
        refuse_newer(version, self.label)
        state = (
            "has no schema yet" if version is None else f"is at schema {version}, this release needs {EXPECTED_SCHEMA}"
        )
        raise Misconfigured(f"The database {self.label} {state}. Run `dujiang migrate`.")

    def state(self) -> str:
        """`ok`, or what is wrong in a word: for health, so it never raises."""
        try:
            self.require_schema()
        except Misconfigured:
            return "schema"
        except SQLAlchemyError:
            return "unavailable"
        return "ok"

    def close(self) -> None:
        self._engines.dispose()


def connect(url: str) -> Database:
    """Opens `sqlite:///relative/path`, `sqlite:////absolute/path` or `postgresql://USER:PASSWORD@HOST:PORT/DATABASE`.

    Raises `Misconfigured` for what is no such address or no database, or cannot be reached. No message repeats the
    address: it may hold a password, and where a mistyped one holds it nobody can tell.
    """
    parsed = parse_url(url)
    database = Database(open_server(parsed) if is_postgresql(parsed) else open_file(parsed))
    try:
        database.schema_version()
    except DBAPIError as error:
        database.close()
        raise Misconfigured(f"The database {database.label} cannot be opened: {error.orig}.") from error
    return database


def sqlite_url(data_dir: Path) -> str:
    """Where the database is when nobody says otherwise."""
    return f"sqlite:///{data_dir / 'dujiang.db'}"


def schema_version(connection: Connection) -> str | None:
    """The revision recorded by Alembic, None where there is none."""
    if not inspect(connection).has_table("alembic_version"):
        return None
    return connection.execute(text("SELECT version_num FROM alembic_version")).scalars().first()


def refuse_newer(version: str | None, label: str) -> None:
    """Raises `Misconfigured` for a database that a later release has migrated. Revisions are four digits and sort."""
    if version is not None and version > EXPECTED_SCHEMA:
        raise Misconfigured(
            f"The database {label} is at schema {version}, this release knows {EXPECTED_SCHEMA}: a newer one was here. "
            "Install that release, or restore the backup made before it."
        )


def parse_url(url: str) -> URL:
    """Raises `Misconfigured` for what is no URL."""
    try:
        return make_url(url)
    except (ArgumentError, ValueError):
        pass
    raise Misconfigured(
        "The database URL is not valid: write `sqlite:///PATH` or `postgresql://USER:PASSWORD@HOST:PORT/DATABASE`.",
        param="DUJIANG_DATABASE_URL",
    )
