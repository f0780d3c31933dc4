"""Records as the API asks for them, from PostgreSQL."""

from collections.abc import Callable
from contextlib import closing
from time import time

from dujiang.records.cursor import Cursors
from dujiang.records.postgres.reading import Reader
from dujiang.records.postgres.schema import prepare
from dujiang.records.postgres.search import PostgresSearch
from dujiang.records.postgres.session import Session
from dujiang.records.postgres.stats import PostgresStats
from dujiang.records.reading import CONCURRENCY, TIMEOUT_S, Turns
from dujiang.records.service import StoredRecords
from dujiang.storage.postgresql import Address


class PostgresRecords(StoredRecords):
    """Reads the tables of records, whoever writes them; `close()` it."""

    def __init__(
        self,
        address: Address,
        *,
        timeout_s: float = TIMEOUT_S,
        concurrency: int = CONCURRENCY,
        clock: Callable[[], float] = time,
    ) -> None:
        with closing(Session(address)) as session:
            cursors = Cursors(prepare(session))
        self._reader = Reader(address, size=concurrency)
        search, stats = PostgresSearch(self._reader), PostgresStats(self._reader)
        super().__init__(search, stats, cursors, Turns(timeout_s, concurrency), clock)

    def close(self) -> None:
        self._reader.close()
