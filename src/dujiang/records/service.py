"""Records as the API asks for them."""

from collections.abc import Callable, Iterator
from pathlib import Path
from time import time
from typing import Protocol

import msgspec

from dujiang.core.errors import InvalidRequest
from dujiang.records.cursor import Cursors, Position, read_key
from dujiang.records.items import Item, Items, item_of
from dujiang.records.partitions import CALLS, CONTENT, Partitions
from dujiang.records.query import RecordQuery, Scope
from dujiang.records.reading import CONCURRENCY, TIMEOUT_S, Turns
from dujiang.records.search import Page, Search, position_of
from dujiang.records.stats import Stats
from dujiang.records.stats_query import StatsQuery

EXPORT_ROWS = 1000
"""Read at once, so that an export holds no more than these and no file for long."""


class Records(Protocol):
    """Questions about stored records. Each blocks, for a few seconds at most, and raises an `AppError`."""

    def list(self, query: RecordQuery, scope: Scope) -> Page:
        """A page of items."""
        ...

    def get(self, id: str, scope: Scope, *, with_content: bool) -> Item:
        """One record with its attempts, and what was said where asked for and kept. Raises `NotFound`."""
        ...

    def stats(self, query: StatsQuery, scope: Scope) -> Items:
        """An item per group."""
        ...

    def export(self, query: RecordQuery, scope: Scope) -> Iterator[Items]:
        """All items, in pages of bounded size, each read when it is asked for."""
        ...

    def close(self) -> None: ...


class SqliteRecords:
    """Reads the days' files of a directory, whoever writes them. Safe to use from several threads; `close()` it."""

    def __init__(
        self,
        directory: Path,
        *,
        timeout_s: float = TIMEOUT_S,
        concurrency: int = CONCURRENCY,
        clock: Callable[[], float] = time,
    ) -> None:
        self._days = Partitions(directory, CALLS)
        self._said = Partitions(directory, CONTENT)
        self._search = Search(self._days, self._said, Cursors(read_key(directory / "cursor.key")))
        self._stats = Stats(self._days)
        self._turns = Turns(timeout_s, concurrency)
        self._clock = clock

    def list(self, query: RecordQuery, scope: Scope) -> Page:
        with self._turns.take() as turn:
            return self._search.page(query, scope, turn)

    def get(self, id: str, scope: Scope, *, with_content: bool) -> Item:
        with self._turns.take() as turn:
            return self._search.one(id, scope, turn, with_content=with_content)

    def stats(self, query: StatsQuery, scope: Scope) -> Items:
        with self._turns.take() as turn:
            return self._stats.items(query, scope, int(self._clock() * 1000), turn)

    def export(self, query: RecordQuery, scope: Scope) -> Iterator[Items]:
        if query.cursor is not None:
            raise InvalidRequest("An export has no pages.", param="cursor")
        # What arrives meanwhile is not part of it, so that it ends.
        until = int(self._clock() * 1000) + 1 if query.to_ms is None else query.to_ms
        return self._pages(msgspec.structs.replace(query, to_ms=until), scope)

    def close(self) -> None:
        self._days.close()
        self._said.close()

    def _pages(self, query: RecordQuery, scope: Scope) -> Iterator[Items]:
        after: Position | None = None
        while True:
            with self._turns.take() as turn:
                rows = self._search.rows(query, scope, after, EXPORT_ROWS, turn)
            if rows:
                yield [item_of(row) for row in rows]
            if len(rows) < EXPORT_ROWS:
                return
            after = position_of(rows[-1], query)
