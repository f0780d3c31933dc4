"""Asks the database, within a time."""

from collections.abc import Generator
from contextlib import contextmanager
from datetime import date
from typing import Any

import psycopg
from sqlalchemy import Connection, Date, Select, column, text
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from dujiang.core.errors import Misconfigured
from dujiang.records.postgres.days import PARTITIONS, day_of_partition
from dujiang.records.postgres.tables import SCHEMA
from dujiang.records.reading import TIMEOUT_S, Clock, too_slow
from dujiang.storage.postgresql import Address, open_pool

Row = tuple[Any, ...]

DAY = column("day", Date)
"""What tables of sums have here beside what `records.tables` says."""

_LIMIT = text("SELECT set_config('statement_timeout', :timeout, true)")
_DAYS = text(PARTITIONS.replace("%(table)s", ":table"))


class Question:
    """Statements that see one state of the records."""

    def __init__(self, connection: Connection, clock: Clock) -> None:
        self._connection = connection
        self._clock = clock

    def rows(self, statement: Select[*tuple[Any, ...]]) -> list[Row]:
        """The tables are those of `records.tables`, found in the schema of records."""
        self._clock.check()
        return [tuple(row) for row in self._connection.execute(statement)]

    def days(self) -> list[date]:
        """The days that have records, the newest first."""
        found = self._connection.execute(_DAYS, {"table": f"{SCHEMA}.calls"})
        return [day_of_partition(name) for (name,) in found]


class Reader:
    """A few connections for questions; `close()` it."""

    def __init__(self, address: Address, *, size: int) -> None:
        engine = open_pool(address, statement_timeout_s=TIMEOUT_S, size=size)
        self._engine = engine.execution_options(
            isolation_level="REPEATABLE READ", postgresql_readonly=True, schema_translate_map={None: SCHEMA}
        )

    @contextmanager
    def question(self, clock: Clock) -> Generator[Question]:
        """Raises `Unprocessable` when the time is over, `Misconfigured` where the database does not answer."""
        clock.check()
        try:
            with self._engine.begin() as connection:
                connection.execute(_LIMIT, {"timeout": str(max(1, round(clock.left_s() * 1000)))})
                yield Question(connection, clock)
        except DBAPIError as error:
            if isinstance(error.orig, psycopg.errors.QueryCanceled):
                raise too_slow() from error
            raise _unreadable() from error
        except SQLAlchemyError as error:
            raise _unreadable() from error

    def close(self) -> None:
        self._engine.dispose()


def _unreadable() -> Misconfigured:
    return Misconfigured("The records cannot be read now: the database does not answer.", retry_after_s=5.0)
