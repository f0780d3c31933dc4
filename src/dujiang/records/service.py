"""Records as the API asks for them."""

from collections.abc import Callable, Iterator
from pathlib import Path
from time import time
from typing import Protocol

import msgspec
from msgspec import Struct

from dujiang.core.errors import InvalidRequest
from dujiang.records.cursor import Cursors, Position, read_key
from dujiang.records.items import Item, Items, item_of
from dujiang.records.partitions import CALLS, CONTENT, Partitions
from dujiang.records.query import RecordQuery, Scope
from dujiang.records.reading import CONCURRENCY, TIMEOUT_S, Clock, Turns
from dujiang.records.search import Row, Search, position_of
from dujiang.records.stats import Stats
from dujiang.records.stats_query import StatsQuery

EXPORT_ROWS = 1000
"""Read at once, so that an export holds no more than these and no file for long."""


class Page(Struct, frozen=True):
    """Some items, and the cursor of those that follow; None at the end."""

    items: Items
    next_cursor: str | None


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


class Finder(Protocol):
    """Finds rows of `calls`, and all that belongs to one."""

    def rows(self, query: RecordQuery, scope: Scope, after: Position | None, limit: int, clock: Clock) -> list[Row]:
        """The first `limit` rows of `calls` after a position, in the query's order."""
        ...

    def one(self, id: str, scope: Scope, clock: Clock, *, with_content: bool) -> Item:
        """Raises `NotFound` for an id that there is not, or not for these eyes."""
        ...


class Summer(Protocol):
    """Sums rows up."""

    def items(self, query: StatsQuery, scope: Scope, now_ms: int, clock: Clock) -> Items:
        """One item per group, in the groups' order."""
        ...


class StoredRecords:
    """Pages, sums and exports from wherever rows are found. Safe to use from several threads."""

    def __init__(
        self, finder: Finder, summer: Summer, cursors: Cursors, turns: Turns, clock: Callable[[], float]
    ) -> None:
        self._finder = finder
        self._summer = summer
        self._cursors = cursors
        self._turns = turns
        self._clock = clock

    def list(self, query: RecordQuery, scope: Scope) -> Page:
        """Raises `InvalidRequest` for a cursor that does not belong to the query."""
        after = self._cursors.read(query.cursor, query, scope) if query.cursor else None
        with self._turns.take() as turn:
            rows = self._finder.rows(query, scope, after, query.limit + 1, turn)
        has_more = len(rows) > query.limit
        rows = rows[: query.limit]
        following = self._cursors.write(position_of(rows[-1], query), query, scope) if has_more else None
        return Page([item_of(row) for row in rows], following)

    def get(self, id: str, scope: Scope, *, with_content: bool) -> Item:
        with self._turns.take() as turn:
            return self._finder.one(id, scope, turn, with_content=with_content)

    def stats(self, query: StatsQuery, scope: Scope) -> Items:
        with self._turns.take() as turn:
            return self._summer.items(query, scope, int(self._clock() * 1000), turn)

    def export(self, query: RecordQuery, scope: Scope) -> Iterator[Items]:
        if query.cursor is not None:
            raise InvalidRequest("An export has no pages.", param="cursor")
        # What arrives meanwhile is not part of it, so that it ends.
        until = int(self._clock() * 1000) + 1 if query.to_ms is None else query.to_ms
        return self._pages(msgspec.structs.replace(query, to_ms=until), scope)

    def _pages(self, query: RecordQuery, scope: Scope) -> Iterator[Items]:
        after: Position | None = None
        while True:
            with self._turns.take() as turn:
                rows = self._finder.rows(query, scope, after, EXPORT_ROWS, turn)
            if rows:
                yield [item_of(row) for row in rows]
            if len(rows) < EXPORT_ROWS:
                return
            after = position_of(rows[-1], query)


class SqliteRecords(StoredRecords):
    """Reads the days' files of a directory, whoever writes them; `close()` it."""

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
        cursors = Cursors(read_key(directory / "cursor.key"))
        search, stats = Search(self._days, self._said), Stats(self._days)
        super().__init__(search, stats, cursors, Turns(timeout_s, concurrency), clock)

    def close(self) -> None:
        self._days.close()
        self._said.close()
