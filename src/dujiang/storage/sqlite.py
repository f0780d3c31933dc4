"""One file of SQLite."""

from pathlib import Path
from sqlite3 import OperationalError
from time import monotonic, sleep
from typing import Any

from sqlalchemy import Connection, create_engine, event
from sqlalchemy.engine import URL

from dujiang.core.errors import Misconfigured
from dujiang.storage.engines import WRITING, Engines, is_writing

BUSY_TIMEOUT_MS = 5_000
_BUSY_PAUSE_S = 0.02


def open_file(url: URL) -> Engines:
    """The file at `sqlite:///PATH`; a missing one is created, readable by its owner only.

    Raises `Misconfigured` for an address that names no file, and for a file that cannot be made.
    """
    path = _file_of(url)
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.touch(mode=0o600)
    except OSError as error:
        raise Misconfigured(f"The database {path} cannot be opened: {error.strerror}.") from error
    engine = create_engine(URL.create("sqlite", database=str(path)), hide_parameters=True)
    event.listen(engine, "connect", _prepare_connection)
    event.listen(engine, "begin", _begin)
    writing = engine.execution_options(**{WRITING: True})
    return Engines(engine, writing, writing, str(path))


def _file_of(url: URL) -> Path:
    is_file = url.database not in {None, "", ":memory:"}
    if url.drivername != "sqlite" or not is_file or url.host or url.query:
        raise Misconfigured(
            "The database URL must be `sqlite:///PATH` or `postgresql://…`.", param="DUJIANG_DATABASE_URL"
        )
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
    connection.exec_driver_sql("BEGIN IMMEDIATE" if is_writing(connection) else "BEGIN DEFERRED")
