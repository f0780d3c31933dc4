"""One SQLite file per UTC day: opened on demand, read by any process, written by one, dropped by unlinking it."""

import re
import sqlite3
from collections import OrderedDict
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from datetime import date
from pathlib import Path
from threading import Lock

from msgspec import Struct
from sqlalchemy import Table

from dujiang.core.errors import Misconfigured
from dujiang.records.histogram import AGGREGATES, added
from dujiang.records.tables import attempts, calls, content, creation, rollups, users
from dujiang.records.upgrade import upgrade_calls

MAX_IDLE = 128
"""Connections kept open for reading: a season of days. Each holds three descriptors and up to 2 MiB of pages."""

_MAX_WRITING = 3
_BUSY_TIMEOUT_S = 5.0
_PAGE_BYTES = 8192
_WRITER_CACHE_KIB = 32 * 1024
_WAL_LIMIT_BYTES = 64 * 1024 * 1024


class Shape(Struct, frozen=True):
    """What a day's file is called after its date, and what it holds.

    `version` is in its `PRAGMA user_version`; `upgrade` brings a file of any earlier version to it.
    """

    suffix: str
    tables: tuple[Table, ...]
    version: int
    upgrade: Callable[[sqlite3.Connection], None]


def _no_earlier_version(_connection: sqlite3.Connection) -> None:
    raise AssertionError


CALLS = Shape(".db", (calls, attempts, rollups, users), version=2, upgrade=upgrade_calls)
CONTENT = Shape(".content.db", (content,), version=1, upgrade=_no_earlier_version)
"""What was said lives in files of its own, since it is dropped sooner: no row is ever deleted from a large table."""


class _Reader(Struct, frozen=True):
    connection: sqlite3.Connection
    inode: int


class Partitions:
    """The files of one shape in one directory. Safe to use from several threads; `close()` it.

    What is committed survives a failure of power, because the journal forgets it then: one flush a batch.

    A file is never changed by reading: readers open it read-only, so that none can bring back what was dropped, and
    SQLite lets only a writer remove the journal beside it.
    """

    def __init__(self, directory: Path, shape: Shape, *, max_idle: int = MAX_IDLE) -> None:
        self._directory = directory
        self._shape = shape
        self._name = re.compile(r"(\d{4}-\d\d-\d\d)" + re.escape(shape.suffix))
        self._max_idle = max_idle
        self._idle: OrderedDict[date, list[_Reader]] = OrderedDict()
        self._idle_count = 0
        self._lock = Lock()
        self._writers: OrderedDict[date, sqlite3.Connection] = OrderedDict()

    def days(self) -> list[date]:
        """The days that have a file, the newest first."""
        try:
            names = [path.name for path in self._directory.iterdir()]
        except FileNotFoundError:
            return []
        found: list[date] = []
        for match in filter(None, map(self._name.fullmatch, names)):
            with suppress(ValueError):
                found.append(date.fromisoformat(match[1]))
        return sorted(found, reverse=True)

    def path(self, day: date) -> Path:
        return self._directory / f"{day.isoformat()}{self._shape.suffix}"

    @contextmanager
    def reading(self, day: date) -> Generator[sqlite3.Connection | None]:
        """A connection that can only read, None where the day has no file.

        Raises `Misconfigured` for the file of a later release, or of an earlier one that is not upgraded yet.
        """
        reader = self._take(day)
        try:
            yield reader.connection if reader else None
        except BaseException:
            if reader:
                reader.connection.close()
            raise
        if reader:
            self._put(day, reader)

    @contextmanager
    def writing(self, day: date) -> Generator[sqlite3.Connection]:
        """A transaction that holds the day's write lock from its start; the file is made where there is none, and
        upgraded where an earlier release made it.

        One thread at a time. It commits at the end of the block and rolls back on any exception.
        """
        connection = self._writer(day)
        connection.execute("BEGIN IMMEDIATE")
        try:
            yield connection
        except BaseException:
            connection.rollback()
            raise
        connection.execute("COMMIT")

    def outdated(self) -> list[date]:
        """The days whose file an earlier release made, the newest first."""
        return [day for day in self.days() if self._is_outdated(day)]

    def drop(self, day: date) -> None:
        """Removes the day's file. The journal goes first: left alone, it would be taken for a later file's own."""
        if writer := self._writers.pop(day, None):
            writer.close()
        with self._lock:
            readers = self._idle.pop(day, [])
            self._idle_count -= len(readers)
        for reader in readers:
            reader.connection.close()
        self._remove_journal(day)
        self.path(day).unlink(missing_ok=True)

    def close(self) -> None:
        with self._lock:
            readers = [reader for kept in self._idle.values() for reader in kept]
            self._idle.clear()
            self._idle_count = 0
        for reader in readers:
            reader.connection.close()
        while self._writers:
            self._writers.popitem()[1].close()

    def _is_outdated(self, day: date) -> bool:
        """A file that is gone or cannot be read is not: whoever asks for its records is told why."""
        try:
            connection = _connect_read_only(self.path(day))
        except sqlite3.Error:
            return False
        try:
            return 0 < _version(connection, self.path(day), self._shape) < self._shape.version
        except (sqlite3.Error, Misconfigured):
            return False
        finally:
            connection.close()

    def _take(self, day: date) -> _Reader | None:
        path = self.path(day)
        try:
            inode = path.stat().st_ino
        except FileNotFoundError:
            return None
        while reader := self._pop_idle(day):
            if reader.inode == inode:
                return reader
            reader.connection.close()
        connection = _open_for_reading(path, self._shape)
        return _Reader(connection, inode) if connection else None

    def _pop_idle(self, day: date) -> _Reader | None:
        with self._lock:
            if day not in self._idle:
                return None
            reader = self._idle[day].pop()
            self._idle_count -= 1
            if not self._idle[day]:
                del self._idle[day]
            return reader

    def _put(self, day: date, reader: _Reader) -> None:
        dropped: _Reader | None = None
        with self._lock:
            self._idle.setdefault(day, []).append(reader)
            self._idle.move_to_end(day)
            self._idle_count += 1
            if self._idle_count > self._max_idle:
                oldest = next(iter(self._idle))
                dropped = self._idle[oldest].pop(0)
                self._idle_count -= 1
                if not self._idle[oldest]:
                    del self._idle[oldest]
        if dropped:
            dropped.connection.close()

    def _writer(self, day: date) -> sqlite3.Connection:
        connection = self._writers.get(day)
        if connection is None:
            while len(self._writers) >= _MAX_WRITING:
                self._writers.popitem(last=False)[1].close()
            connection = self._writers[day] = self._open_for_writing(day)
        self._writers.move_to_end(day)
        return connection

    def _open_for_writing(self, day: date) -> sqlite3.Connection:
        path = self.path(day)
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not path.exists():
            self._remove_journal(day)
            path.touch(mode=0o600)
        connection = sqlite3.connect(path, timeout=_BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False)
        try:
            for pragma in (
                f"page_size = {_PAGE_BYTES}",
                "journal_mode = WAL",
                "synchronous = FULL",
                f"cache_size = -{_WRITER_CACHE_KIB}",
                f"journal_size_limit = {_WAL_LIMIT_BYTES}",
            ):
                connection.execute(f"PRAGMA {pragma}")
            connection.create_function("added_histograms", 2, added, deterministic=True)
            _prepare(connection, path, self._shape)
        except BaseException:
            connection.close()
            raise
        return connection

    def _remove_journal(self, day: date) -> None:
        for ending in ("-wal", "-shm"):
            Path(f"{self.path(day)}{ending}").unlink(missing_ok=True)


def _open_for_reading(path: Path, shape: Shape) -> sqlite3.Connection | None:
    """None where the file has just been dropped, or made and not yet filled."""
    connection = None
    try:
        connection = _connect_read_only(path)
        version = _version(connection, path, shape)
        if 0 < version < shape.version:
            raise Misconfigured(
                f"The records in {path.name} wait to be upgraded: the next start of the server does it."
            )
    except (sqlite3.Error, Misconfigured):
        if connection:
            connection.close()
        if path.exists():
            raise
        return None
    if not version:
        connection.close()
        return None
    for name, aggregate in AGGREGATES.items():
        connection.create_aggregate(name, 1, aggregate)
    return connection


def _connect_read_only(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(
        f"{path.absolute().as_uri()}?mode=ro",
        uri=True,
        timeout=_BUSY_TIMEOUT_S,
        isolation_level=None,
        check_same_thread=False,
    )


def _prepare(connection: sqlite3.Connection, path: Path, shape: Shape) -> None:
    """Creates the tables of a new file, or upgrades an earlier release's: all or nothing."""
    if _version(connection, path, shape) == shape.version:
        return
    connection.execute("BEGIN IMMEDIATE")
    try:
        version = _version(connection, path, shape)
        if version == 0:
            for statement in creation(shape.tables):
                connection.execute(statement)
        elif version < shape.version:
            shape.upgrade(connection)
        connection.execute(f"PRAGMA user_version = {shape.version}")
    except BaseException:
        connection.rollback()
        raise
    connection.execute("COMMIT")


def _version(connection: sqlite3.Connection, path: Path, shape: Shape) -> int:
    """Of the file's tables, 0 where it has none yet. Raises `Misconfigured` where a later release made them."""
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version > shape.version:
        raise Misconfigured(
            f"The records in {path.name} are at schema {version}, this release knows {shape.version}: a newer one was "
            "here. Install that release, or move the file away."
        )
    return version
