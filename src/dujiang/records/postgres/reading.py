"""Asks the database, day by day and within a time.

Every statement names the partitions of the days that it is about. Of the partitioned table, unless bounds leave few
days, PostgreSQL plans with every day that there is, which takes 5 ms a statement with 90 days and 40 the first time on
a connection, and locks them all until the transaction ends.
"""

import re
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from datetime import date
from typing import Any, cast

import psycopg
from msgspec import Struct
from sqlalchemy import ColumnElement, Integer, literal_column
from sqlalchemy.dialects import postgresql
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.sql import ClauseElement

from dujiang.core.errors import Misconfigured
from dujiang.records.postgres.days import PARTITIONS, day_of_partition
from dujiang.records.postgres.tables import OF_A_DAY, SCHEMA
from dujiang.records.reading import TIMEOUT_S, Clock, too_slow
from dujiang.storage.postgresql import Address, open_pool

Row = tuple[Any, ...]

_MOST_DAYS = 8
"""In one statement: more save nothing."""

_DAY = "YYYYMMDD"
DAY: ColumnElement[int] = literal_column(_DAY, Integer).label("day")
"""Of a statement's columns the one that tells the day, as the number that `number_of` makes of it."""

_TABLES = re.compile(rf"\bFROM ({'|'.join(table.name for table in OF_A_DAY)})\b")
_SOME_DAYS = b"FROM some_days"
_DIALECT = postgresql.dialect(paramstyle="pyformat")
_SETTINGS = """
SELECT set_config('statement_timeout', %s, false), set_config('default_transaction_read_only', 'on', false),
  set_config('jit', 'off', false), set_config('max_parallel_workers_per_gather', '0', false)
"""
"""Compiling a plan, or starting processes for it, takes longer than a question about an index."""


class DaySql(Struct, frozen=True):
    """A statement that can be asked of any days, with the values of its named parameters."""

    text: str
    values: dict[str, Any]

    def on(self, days: Sequence[date]) -> bytes:
        """All its rows on these days."""
        parts = (f"({self.text.replace(_DAY, str(number_of(day)))})" for day in days)
        return " UNION ALL ".join(parts).encode()


class Together(DaySql, frozen=True):
    """A statement, and what is asked of the rows that it has on several days."""

    over: str

    def on(self, days: Sequence[date]) -> bytes:
        return self.over.encode().replace(_SOME_DAYS, b"FROM (%b) AS some_days" % super().on(days))


def compiled(statement: ClauseElement) -> DaySql:
    """A statement on the tables of `records.tables`. Values are never part of the text."""
    done = statement.compile(dialect=_DIALECT, compile_kwargs={"render_postcompile": True})
    return DaySql(_TABLES.sub(rf"FROM {SCHEMA}.\1_{_DAY} AS \1", str(done)), {**(done.params or {})})


def together(statement: ClauseElement, over: ClauseElement) -> Together:
    """A statement, and another one `over` its rows, which is on a table `some_days` and has no parameters."""
    each = compiled(statement)
    return Together(each.text, each.values, str(over.compile(dialect=_DIALECT)))


def number_of(day: date) -> int:
    return int(f"{day:%Y%m%d}")


class Question:
    """Statements about days. Each sees a state of its own, in which every batch is stored whole or not at all."""

    def __init__(self, connection: psycopg.Connection[Any], clock: Clock) -> None:
        self._connection = connection
        self._clock = clock

    def days(self) -> list[date]:
        """The days that have records, the newest first."""
        found = self._connection.execute(PARTITIONS, {"table": f"{SCHEMA}.calls"})
        return [day_of_partition(name) for (name,) in found]

    def rows(self, days: Sequence[date], sql: DaySql) -> list[Row]:
        """The rows of a statement on some days; none of a day that is not there, or no more."""
        self._clock.check()
        try:
            return self._connection.cursor(binary=True).execute(sql.on(days), sql.values).fetchall()
        except psycopg.errors.UndefinedTable:
            return [row for day in days for row in self.rows([day], sql)] if len(days) > 1 else []

    def each(self, days: Sequence[date], sql: DaySql) -> Iterator[list[Row]]:
        """The rows of one day, then of two more, four and so on, each read when it is asked for: most pages end in the
        first, and what is rare is found in few statements.
        """
        start, size = 0, 1
        while window := days[start : start + size]:
            yield self.rows(window, sql)
            start, size = start + size, min(2 * size, _MOST_DAYS)


class Reader:
    """A few connections for questions; `close()` it."""

    def __init__(self, address: Address, *, size: int) -> None:
        engine = open_pool(address, statement_timeout_s=TIMEOUT_S, size=size)
        self._engine = engine.execution_options(isolation_level="AUTOCOMMIT")

    @contextmanager
    def question(self, clock: Clock) -> Generator[Question]:
        """Raises `Unprocessable` when the time is over, `Misconfigured` where the database does not answer."""
        clock.check()
        try:
            with self._engine.connect() as pooled:
                connection = cast("psycopg.Connection[Any]", pooled.connection.driver_connection)
                try:
                    connection.execute(_SETTINGS, (str(max(1, round(clock.left_s() * 1000))),))
                    yield Question(connection, clock)
                finally:
                    if connection.closed:
                        pooled.invalidate()
        except psycopg.errors.QueryCanceled as error:
            raise too_slow() from error
        except (psycopg.Error, SQLAlchemyError) as error:
            raise Misconfigured(
                "The records cannot be read now: the database does not answer.", retry_after_s=5.0
            ) from error

    def close(self) -> None:
        self._engine.dispose()
