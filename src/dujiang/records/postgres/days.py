"""Which days have records, and their end."""

from datetime import date, datetime

import psycopg
from psycopg import sql
from sqlalchemy import Table

from dujiang.records.postgres.session import Session
from dujiang.records.postgres.tables import OF_A_DAY, SCHEMA, Partition, calls, content
from dujiang.storage.postgresql import Address

LOCK_TIMEOUT_MS = 400
TRIES = 2
"""A drop waits for whoever reads at that moment, and all others wait for it, at most so long and so often."""

PARTITIONS = (
    "SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid "
    "WHERE i.inhparent = to_regclass(%(table)s) ORDER BY c.relname DESC"
)


class PostgresDays:
    """The days of a database; `close()` it. A partition is dropped as a whole, no row is ever deleted."""

    def __init__(self, address: Address) -> None:
        self._forgetting = Session(address)

    def days(self) -> list[date]:
        """The days that have records, the newest first."""
        return self._days_of(calls)

    def content_days(self) -> list[date]:
        """The days of which something said is kept, the newest first."""
        return self._days_of(content)

    def drop(self, day: date) -> None:
        """Removes a day with all that belongs to it. Raises `psycopg.Error` where somebody reads it for too long."""
        self._drop([Partition(table, day) for table in OF_A_DAY])

    def drop_content(self, day: date) -> None:
        """Removes what was said on a day. Raises as `drop` does."""
        self._drop([Partition(content, day)])

    def close(self) -> None:
        self._forgetting.close()

    def _days_of(self, table: Table) -> list[date]:
        with self._forgetting.transaction() as cursor:
            cursor.execute(PARTITIONS, {"table": f"{SCHEMA}.{table.name}"})
            return [day_of_partition(name) for (name,) in cursor]

    def _drop(self, partitions: list[Partition]) -> None:
        names = sql.SQL(", ").join(partition.identifier for partition in partitions)
        for is_last in [False] * (TRIES - 1) + [True]:
            try:
                with self._forgetting.transaction() as cursor:
                    cursor.execute("SELECT set_config('lock_timeout', %s, true)", (str(LOCK_TIMEOUT_MS),))
                    cursor.execute(sql.SQL("DROP TABLE IF EXISTS {}").format(names))
            except psycopg.errors.LockNotAvailable:
                if is_last:
                    raise
            else:
                return


def day_of_partition(name: str) -> date:
    return datetime.strptime(name[-8:], "%Y%m%d").date()  # noqa: DTZ007 a date has no zone
