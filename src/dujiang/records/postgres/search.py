"""Finds records in the partitions: a page at a time, each from where the last one ended, and nothing is counted."""

from datetime import date
from typing import Any

import msgspec
from sqlalchemy import ColumnElement, Select, literal_column, select

from dujiang.records.cursor import Position
from dujiang.records.filters import conditions, page_statement
from dujiang.records.items import Item, detailed_item_of
from dujiang.records.moments import day_of, id_bytes, id_ms
from dujiang.records.postgres.reading import Question, Reader, Row, compiled
from dujiang.records.postgres.texts import storable
from dujiang.records.query import RecordQuery, Scope
from dujiang.records.reading import Clock
from dujiang.records.search import days_of, no_such, position_of
from dujiang.records.tables import attempts, calls, content, users


class PostgresSearch:
    """Answers queries from one database."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    def rows(self, query: RecordQuery, scope: Scope, after: Position | None, limit: int, clock: Clock) -> list[Row]:
        """The first `limit` rows of `calls` after a position, in the query's order."""
        query = storable(query)
        sql = compiled(_statement(query, scope, after, limit))
        is_by_time = query.sort in {"started_at", "-started_at"}
        found: list[Row] = []
        with self._reader.question(clock) as question:
            for rows in question.each(days_of(query, after if is_by_time else None, question.days()), sql):
                found += rows
                if is_by_time and len(found) >= limit:
                    break
        found.sort(key=lambda row: position_of(row, query), reverse=query.sort != "started_at")
        return found[:limit]

    def one(self, id: str, scope: Scope, clock: Clock, *, with_content: bool) -> Item:
        """Raises `NotFound` for an id that there is not, or not for these eyes."""
        try:
            raw = id_bytes(id)
        except ValueError:
            raise no_such(id) from None
        day = day_of(id_ms(raw))
        with self._reader.question(clock) as question:
            rows = _on(question, day, select(calls).where(calls.c.id == raw, *conditions(RecordQuery(), scope)))
            if not rows:
                raise no_such(id)
            tries = _on(question, day, select(attempts).where(attempts.c.call_id == raw).order_by(attempts.c.n))
            said: list[Row] = []
            if with_content:
                texts = select(content.c.messages, content.c.result).where(content.c.call_id == raw)
                said = _on(question, day, texts)
        return detailed_item_of(rows[0], tries, (said[0][0], said[0][1]) if said else None)


def _statement(query: RecordQuery, scope: Scope, after: Position | None, limit: int) -> Select[Any]:
    """A page's. In which apps a user has calls is read from the sums by user, which are much smaller than the calls.

    The columns are not named, since reading 45 names a day would take longer than a rare value's index.
    """
    apps: list[ColumnElement[bool]] = []
    if query.user_id is not None and query.app is None and scope.app is None:
        of_user = select(users.c.app).where(users.c.user_id == query.user_id)
        apps = [calls.c.user_id == query.user_id, calls.c.app.in_(of_user)]
        query = msgspec.structs.replace(query, user_id=None)
    statement = page_statement(query, scope, after, limit).where(*apps)
    return statement.with_only_columns(literal_column("*"), maintain_column_froms=True)


def _on(question: Question, day: date, statement: Select[*tuple[Any, ...]]) -> list[Row]:
    return question.rows([day], compiled(statement))
