"""Pricing a day's file again: its calls, their attempts, and its sums."""

from collections.abc import Iterator
from sqlite3 import Connection
from typing import Any

from dujiang.records.repricing import Change, Repriced, Repricing, priced_attempts, repriced
from dujiang.records.tables import compiled
from dujiang.records.upgrade import count_again

_ATTEMPTS = compiled(priced_attempts())
_BEYOND = b"\xff" * 17
_SET_CALL = """
UPDATE calls SET cost_micros = :cost_micros, currency = :currency, price_version = :price_version,
  account_currency = :account_currency, exchange_rate = :exchange_rate WHERE id = :of_call
"""
_SET_ATTEMPT = "UPDATE attempts SET cost_micros = :cost_micros WHERE call_id = :of_call AND n = :attempt"


def appraise(connection: Connection, repricing: Repricing) -> Repriced:
    """What pricing a day again would come to. Changes nothing."""
    total = Repriced()
    for _, count in _changes(connection, repricing):
        total = total.plus(count)
    return total


def reprice(connection: Connection, repricing: Repricing) -> Repriced:
    """Prices a day again, inside the caller's transaction; its sums are counted again where anything changed."""
    total = Repriced()
    for changes, count in _changes(connection, repricing):
        values = [change.values() for change in changes]
        connection.executemany(_SET_CALL, values)
        connection.executemany(_SET_ATTEMPT, values)
        total = total.plus(count)
    if total.changed:
        count_again(connection)
    return total


def _changes(connection: Connection, repricing: Repricing) -> Iterator[tuple[list[Change], Repriced]]:
    used = compiled(repricing.used_calls)
    after = b""
    while rows := _rows(connection, used.text, used.values | {"after": after, "before": _BEYOND}):
        first, after = rows[0][0], rows[-1][0]
        priced = _rows(connection, _ATTEMPTS.text, _ATTEMPTS.values | {"first": first, "last": after})
        yield repriced(rows, priced, repricing.price_of)


def _rows(connection: Connection, text: str, values: dict[str, Any]) -> list[tuple[Any, ...]]:
    return connection.execute(text, values).fetchall()
