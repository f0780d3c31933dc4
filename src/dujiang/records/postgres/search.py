"""Finds records in the partitions: a page at a time, each from where the last one ended, and nothing is counted."""

from collections.abc import Iterator
from datetime import date

import msgspec
from sqlalchemy import select

from dujiang.records.cursor import Position
from dujiang.records.filters import conditions, page_statement
from dujiang.records.items import Item, detailed_item_of
from dujiang.records.moments import DAY_MS, id_bytes, start_of
from dujiang.records.postgres.reading import Question, Reader, Row
from dujiang.records.postgres.texts import storable
from dujiang.records.query import RecordQuery, Scope
from dujiang.records.reading import Clock
from dujiang.records.search import days_of, no_such
from dujiang.records.tables import attempts, calls, content

_MOST_DAYS = 32
"""Partitions in one statement: each has seven relations to plan with and to lock."""


class PostgresSearch:
    """Answers queries from one database."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    def rows(self, query: RecordQuery, scope: Scope, after: Position | None, limit: int, clock: Clock) -> list[Row]:
        """The first `limit` rows of `calls` after a position, in the query's order."""
        query = storable(query)
        with self._reader.question(clock) as question:
            if query.sort in {"started_at", "-started_at"}:
                return _by_time(question, query, scope, after, limit)
            return question.rows(page_statement(query, scope, after, limit))

    def one(self, id: str, scope: Scope, clock: Clock, *, with_content: bool) -> Item:
        """Raises `NotFound` for an id that there is not, or not for these eyes."""
        try:
            raw = id_bytes(id)
        except ValueError:
            raise no_such(id) from None
        with self._reader.question(clock) as question:
            rows = question.rows(select(calls).where(calls.c.id == raw, *conditions(RecordQuery(), scope)))
            if not rows:
                raise no_such(id)
            tries = question.rows(select(attempts).where(attempts.c.call_id == raw).order_by(attempts.c.n))
            said: list[Row] = []
            if with_content:
                said = question.rows(select(content.c.messages, content.c.result).where(content.c.call_id == raw))
        return detailed_item_of(rows[0], tries, (said[0][0], said[0][1]) if said else None)


def _by_time(question: Question, query: RecordQuery, scope: Scope, after: Position | None, limit: int) -> list[Row]:
    """Few days first, then more at once: most pages end in the first, and what is rare is found in few statements."""
    found: list[Row] = []
    for newest, oldest in _windows(days_of(query, after, question.days())):
        found += question.rows(page_statement(_within(query, newest, oldest), scope, after, limit - len(found)))
        if len(found) >= limit:
            break
    return found


def _windows(days: list[date]) -> Iterator[tuple[date, date]]:
    """The first and the last of one day, two, four and so on."""
    start, size = 0, 1
    while window := days[start : start + size]:
        yield max(window), min(window)
        start, size = start + size, min(2 * size, _MOST_DAYS)


def _within(query: RecordQuery, newest: date, oldest: date) -> RecordQuery:
    from_ms, to_ms = start_of(oldest), start_of(newest) + DAY_MS
    return msgspec.structs.replace(
        query,
        from_ms=from_ms if query.from_ms is None else max(from_ms, query.from_ms),
        to_ms=to_ms if query.to_ms is None else min(to_ms, query.to_ms),
    )
