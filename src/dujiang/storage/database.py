"""The database: one file of SQLite through SQLAlchemy Core. Features declare their tables on `metadata`."""

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from sqlite3 import OperationalError
from time import monotonic, sleep
from types import TracebackType
from typing import Any, Self

from sqlalchemy import Connection, Engine, MetaData, create_engine, event, inspect, text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError

from dujiang.core.errors import Misconfigured, NotBuilt

EXPECTED_SCHEMA = "0003"
"""The revision that this release reads and writes; the last one in `dujiang.migrations` (a test holds them equal)."""

BUSY_TIMEOUT_MS = 5_000
_BUSY_PAUSE_S = 0.02

_CONSTRAINT_NAMES = {
    "ix": "ix_%(column_0_label)s",
    "uq": "uq_%(table_name)s_%(column_0_name)s",
    "fk": "fk_%(table_name)s_%(column_0_name)s",
    "pk": "pk_%(table_name)s",
}

metadata = MetaData(naming_convention=_CONSTRAINT_NAMES)


class Database:
    """Owns the connections to one database. Use it as a context manager, or `close()` it.

    `label` names it in messages and holds no secret.
    """

    def __init__(self, engine: Engine, label: str) -> None:
        self._engine = engine
        self._writing = engine.execution_options(sqlite_begin="IMMEDIATE")
        self.label = label

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @contextmanager
    def read(self) -> Generator[Connection]:
        """A transaction that sees one state of the database and changes nothing."""
        with self._engine.begin() as connection:
            yield connection

    @contextmanager
    def write(self) -> Generator[Connection]:
        """A transaction that holds SQLite's write lock from its start: what it read cannot change before it writes.

        It commits at the end of the block and rolls back on any exception.
        """
        with self._writing.begin() as connection:
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
        except DBAPIError:
            return "unavailable"
        return "ok"

    def close(self) -> None:
        self._engine.dispose()


def connect(url: str) -> Database:
    """Opens the database at `sqlite:///relative/path` or `sqlite:////absolute/path`.

    A missing file is created, readable by its owner only. Raises `Misconfigured` for what is no such address or no
    database, `NotBuilt` for PostgreSQL. No message repeats the address: it may hold a password, and where a mistyped
    one holds it nobody can tell.
    """
    path = _file_of(_parse(url))
    engine = create_engine(URL.create("sqlite", database=str(path)), hide_parameters=True)
    event.listen(engine, "connect", _prepare_connection)
    event.listen(engine, "begin", _begin)
    database = Database(engine, label=str(path))
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.touch(mode=0o600)
        database.schema_version()
    except OSError as error:
        raise Misconfigured(f"The database {path} cannot be opened: {error.strerror}.") from error
    except DBAPIError as error:
        database.close()
        raise Misconfigured(f"The database {path} cannot be opened: {error.orig}.") from error
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


def _parse(url: str) -> URL:
    try:
        return make_url(url)
    except (ArgumentError, ValueError):
        pass
    raise Misconfigured("The database URL is not valid: write `sqlite:///PATH`.", param="DUJIANG_DATABASE_URL")


def _file_of(url: URL) -> Path:
    backend = url.get_backend_name()
    if backend in {"postgresql", "postgres"}:
        raise NotBuilt(
            "PostgreSQL (`postgresql://…`) is not built yet: use `sqlite:///PATH`.", param="DUJIANG_DATABASE_URL"
        )
    is_file = url.database not in {None, "", ":memory:"}
    if url.drivername != "sqlite" or not is_file or url.host or url.query:
        raise Misconfigured("The database URL must be `sqlite:///PATH`.", param="DUJIANG_DATABASE_URL")
    return Path(str(url.database))


def _prepare_connection(connection: Any, _record: object) -> None:
    """WAL lets readers and the one writer work at once; NORMAL is safe against a crash of the process in that mode.

    The driver's own transaction handling is off: it would commit before a DDL statement, and a migration could stop
    half-way (https://docs.sqlalchemy.org/en/21/dialects/sqlite.html).
    """
    connection.isolation_level = None
    connection.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_MS}")
    _enter_wal(connection)
    connection.execute("PRAGMA synchronous = NORMAL")
    connection.execute("PRAGMA foreign_keys = ON")


def _enter_wal(connection: Any) -> None:
    """Waits for others by itself: SQLite's busy timeout does not hold for a change of the journal's mode."""
    give_up = monotonic() + BUSY_TIMEOUT_MS / 1000
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
        except OperationalError:
            if monotonic() > give_up:
                raise
            sleep(_BUSY_PAUSE_S)
        else:
            return


def _begin(connection: Connection) -> None:
    mode = connection.get_execution_options().get("sqlite_begin", "DEFERRED")
    connection.exec_driver_sql(f"BEGIN {mode}")
