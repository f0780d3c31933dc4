"""Finds records in the partitions: a page at a time, each from where the last one ended, and nothing is counted."""

from collections.abc import Iterator
from datetime import date

import msgspec
from sqlalchemy import ColumnElement, or_, select

from dujiang.records.cursor import Position
from dujiang.records.filters import conditions, page_statement
from dujiang.records.items import Item, detailed_item_of
from dujiang.records.moments import DAY_MS, first_id, id_bytes, start_of
from dujiang.records.postgres.reading import DAY, Question, Reader, Row
from dujiang.records.postgres.texts import storable
from dujiang.records.query import RecordQuery, Scope
from dujiang.records.reading import Clock
from dujiang.records.search import days_of, no_such
from dujiang.records.tables import attempts, calls, content, users

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
    days = days_of(query, after, question.days())
    wanted: list[ColumnElement[bool]] = []
    if query.user_id is not None:
        apps, own_days = _traces(question, query.user_id)
        days = [day for day in days if day in own_days]
        wanted = [calls.c.user_id == query.user_id, calls.c.app.in_(sorted(apps))]
        query = msgspec.structs.replace(query, user_id=None)
    found: list[Row] = []
    for window in _windows(days):
        statement = page_statement(query, scope, after, limit - len(found)).where(*wanted, _on_any(window))
        found += question.rows(statement)
        if len(found) >= limit:
            break
    return found


def _traces(question: Question, user_id: str) -> tuple[set[str], set[date]]:
    """The apps and the days in which a user has calls: the sums by user know, and are much smaller than the calls."""
    rows = question.rows(select(users.c.app, DAY).where(users.c.user_id == user_id).distinct())
    return {app for app, _ in rows}, {day for _, day in rows}


def _windows(days: list[date]) -> Iterator[list[date]]:
    """One day, two, four and so on."""
    start, size = 0, 1
    while window := days[start : start + size]:
        yield window
        start, size = start + size, min(2 * size, _MOST_DAYS)


def _on_any(days: list[date]) -> ColumnElement[bool]:
    """Says which partitions there are to look into: neighbouring days in one range."""
    ranges: list[tuple[int, int]] = []
    for start_ms in sorted(map(start_of, days)):
        if ranges and ranges[-1][1] == start_ms:
            ranges[-1] = (ranges[-1][0], start_ms + DAY_MS)
        else:
            ranges.append((start_ms, start_ms + DAY_MS))
    return or_(*((calls.c.id >= first_id(start)) & (calls.c.id < first_id(end)) for start, end in ranges))
