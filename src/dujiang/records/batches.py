"""A batch as the rows that it becomes in any database, and whose fault it is where it cannot be stored."""

from collections.abc import Callable, Sequence
from datetime import date
from typing import Any

import msgspec

from dujiang.records.drain import BadRecord
from dujiang.records.moments import day_of, id_bytes, id_ms
from dujiang.records.record import Record

Fresh = list[tuple[bytes, Record]]

_ATTEMPTS = Record.__struct_fields__.index("attempts")
_CHARGES = Record.__struct_fields__.index("charges")


def by_day(batch: Sequence[Record]) -> dict[date, dict[bytes, Record]]:
    """The records of each day by id, the oldest day first. Raises `BadRecord` for what is no id."""
    days: dict[date, dict[bytes, Record]] = {}
    for record in batch:
        try:
            id = id_bytes(record.id)
        except ValueError as error:
            raise BadRecord(record.id, str(error)) from error
        days.setdefault(day_of(id_ms(id)), {}).setdefault(id, record)
    return dict(sorted(days.items()))


def insert_halves(insert: Callable[[Fresh], int], fresh: Fresh, unstorable: tuple[type[Exception], ...]) -> int:
    """Inserts what can be stored together, else its halves, and tells how many records were new.

    `insert` stores all or nothing. Raises `BadRecord` for the first record that cannot be stored alone.
    """
    try:
        return insert(fresh)
    except unstorable as error:
        if len(fresh) == 1:
            raise BadRecord(fresh[0][1].id, str(error)) from error
    middle = len(fresh) // 2
    return sum(insert_halves(insert, half, unstorable) for half in (fresh[:middle], fresh[middle:]))


def call_row(id: bytes, record: Record) -> tuple[Any, ...]:
    """The values of the columns of `calls`."""
    fields = msgspec.structs.astuple(record)
    return (id, *fields[1:_ATTEMPTS], len(record.attempts), *fields[_ATTEMPTS + 2 : _CHARGES])


def attempt_rows(fresh: Fresh) -> list[tuple[Any, ...]]:
    """The values of the columns of `attempts`, of all records."""
    return [
        (
            id,
            n,
            attempt.provider,
            attempt.target,
            attempt.credential,
            attempt.why,
            attempt.error_type,
            attempt.waited_ms,
            attempt.first_token_ms,
            attempt.total_ms,
            attempt.cost_micros,
        )
        for id, record in fresh
        for n, attempt in enumerate(record.attempts, 1)
    ]


def content_rows(fresh: Fresh) -> list[tuple[Any, ...]]:
    """The values of the columns of `content`, of those whose words are kept."""
    return [(id, record.content.messages, record.content.result) for id, record in fresh if record.content]
