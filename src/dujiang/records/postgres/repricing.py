"""Pricing a day's partitions again: its calls, their attempts, and its sums."""

from collections.abc import Iterator
from datetime import date
from typing import Any

from psycopg import Cursor
from sqlalchemy import bindparam, select
from sqlalchemy.dialects import postgresql
from sqlalchemy.sql import ClauseElement

from dujiang.records.folding import add_calls, fold
from dujiang.records.moments import DAY_MS, first_id, start_of
from dujiang.records.postgres.rollups import PostgresSums
from dujiang.records.postgres.tables import SCHEMA
from dujiang.records.repricing import AT_ONCE, Change, Repriced, Repricing, priced_attempts, repriced
from dujiang.records.tables import calls
from dujiang.records.upgrade import recorded

_SET_CALL = """
UPDATE calls SET cost_micros = %(cost_micros)s, currency = %(currency)s, price_version = %(price_version)s,
  account_currency = %(account_currency)s, exchange_rate = %(exchange_rate)s WHERE id = %(of_call)b
"""
_SET_ATTEMPT = "UPDATE attempts SET cost_micros = %(cost_micros)s WHERE call_id = %(of_call)b AND n = %(attempt)s"


class DayToPrice:
    """A day's records, inside the caller's transaction, which holds the day's lock."""

    def __init__(self, cursor: Cursor[Any], day: date) -> None:
        self._cursor = cursor
        self._day = day
        self._first, self._before = first_id(start_of(day)), first_id(start_of(day) + DAY_MS)
        cursor.execute(f"SET LOCAL search_path = {SCHEMA}".encode())

    def appraise(self, repricing: Repricing) -> Repriced:
        """What pricing it again would come to. Changes nothing."""
        total = Repriced()
        for _, count in self._changes(repricing):
            total = total.plus(count)
        return total

    def reprice(self, repricing: Repricing) -> Repriced:
        """Prices it again; its sums are counted again where anything changed."""
        total = Repriced()
        for changes, count in self._changes(repricing):
            values = [change.values() for change in changes]
            self._cursor.executemany(_SET_CALL, values)
            self._cursor.executemany(_SET_ATTEMPT, values)
            total = total.plus(count)
        if total.changed:
            self._count_again()
        return total

    def _changes(self, repricing: Repricing) -> Iterator[tuple[list[Change], Repriced]]:
        used, priced = _text(repricing.used_calls), _text(priced_attempts())
        after = self._first
        while rows := self._rows(used, {"after": after, "before": self._before, "param_1": AT_ONCE}):
            span = {"first": rows[0][0], "last": rows[-1][0]}
            yield repriced(rows, self._rows(priced, span), repricing.price_of)
            after = rows[-1][0]

    def _count_again(self) -> None:
        self._cursor.execute("DELETE FROM rollups WHERE day = %s", (self._day,))
        self._cursor.execute("DELETE FROM users WHERE day = %s", (self._day,))
        sums = PostgresSums(self._cursor, self._day)
        following = select(calls).where(calls.c.id > bindparam("after"), calls.c.id < bindparam("before"))
        statement = _text(following.order_by(calls.c.id).limit(AT_ONCE))
        after = self._first
        while rows := self._rows(statement, {"after": after, "before": self._before, "param_1": AT_ONCE}):
            add_calls(sums, [(row[0], recorded(row)) for row in rows])
            after = rows[-1][0]
        fold(sums)

    def _rows(self, statement: bytes, values: dict[str, Any]) -> list[tuple[Any, ...]]:
        return self._cursor.execute(statement, values).fetchall()


def _text(statement: ClauseElement) -> bytes:
    return str(statement.compile(dialect=postgresql.dialect(paramstyle="pyformat"))).encode()
