"""Finds records in the days' files: a page at a time, each from where the last one ended, and nothing is counted."""

from datetime import date
from typing import Any

from sqlalchemy import select

from dujiang.core.errors import NotFound
from dujiang.records.cursor import Position
from dujiang.records.filters import conditions, page_statement
from dujiang.records.items import CALL, Item, detailed_item_of
from dujiang.records.moments import day_of, id_bytes, id_ms
from dujiang.records.partitions import Partitions
from dujiang.records.query import RecordQuery, Scope
from dujiang.records.reading import Clock, run
from dujiang.records.tables import attempts, calls, compiled, content

Row = tuple[Any, ...]

_ID = CALL.index("id")
_TOTAL_MS = CALL.index("total_ms")
_COST = CALL.index("cost_micros")


class Search:
    """Answers queries from one directory's files."""

    def __init__(self, days: Partitions, said: Partitions) -> None:
        self._days = days
        self._said = said

    def rows(self, query: RecordQuery, scope: Scope, after: Position | None, limit: int, clock: Clock) -> list[Row]:
        """The first `limit` rows of `calls` after a position, in the query's order."""
        statement = compiled(page_statement(query, scope, after, limit))
        found: list[Row] = []
        is_by_time = query.sort in {"started_at", "-started_at"}
        for day in days_of(query, after if is_by_time else None, self._days.days()):
            found += run(self._days, day, statement, clock)
            if is_by_time and len(found) >= limit:
                break
        if not is_by_time:
            found.sort(key=lambda row: position_of(row, query), reverse=True)
        return found[:limit]

    def one(self, id: str, scope: Scope, clock: Clock, *, with_content: bool) -> Item:
        """Raises `NotFound` for an id that there is not, or not for these eyes."""
        try:
            raw = id_bytes(id)
        except ValueError:
            raise no_such(id) from None
        day = day_of(id_ms(raw))
        wanted = select(calls).where(calls.c.id == raw, *conditions(RecordQuery(), scope))
        rows = run(self._days, day, compiled(wanted), clock)
        if not rows:
            raise no_such(id)
        tries = select(attempts).where(attempts.c.call_id == raw).order_by(attempts.c.n)
        said: list[Row] = []
        if with_content:
            texts = select(content.c.messages, content.c.result).where(content.c.call_id == raw)
            said = run(self._said, day, compiled(texts), clock)
        return detailed_item_of(rows[0], run(self._days, day, compiled(tries), clock), said[0] if said else None)


def days_of(query: RecordQuery, after: Position | None, days: list[date]) -> list[date]:
    """Those of `days`, which are the newest first, that may hold rows of a query after a position, in its order."""
    is_rising = query.sort == "started_at"
    from_ms, to_ms = query.from_ms, query.to_ms
    if after is not None and is_rising:
        from_ms = id_ms(after.id)
    elif after is not None:
        to_ms = id_ms(after.id) + 1
    if to_ms == 0:
        return []
    oldest = None if from_ms is None else day_of(from_ms)
    newest = None if to_ms is None else day_of(to_ms - 1)
    found = [day for day in days if (oldest is None or day >= oldest) and (newest is None or day <= newest)]
    return found[::-1] if is_rising else found


def position_of(row: Row, query: RecordQuery) -> Position:
    """Where a row stands in the query's order."""
    match query.sort:
        case "-total_ms":
            return Position(row[_TOTAL_MS], row[_ID])
        case "-cost":
            return Position(-1 if row[_COST] is None else row[_COST], row[_ID])
        case _:
            return Position(0, row[_ID])


def no_such(id: str) -> NotFound:
    return NotFound(f"There is no record `{id[:100]}`.", reason="record_not_found", param="id")
