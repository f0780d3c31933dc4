"""What a batch adds to the sums of its day at once: to the finest by hour, and by user."""

from collections.abc import Iterable, Iterator, Mapping
from sqlite3 import Connection
from typing import Any

from dujiang.records.cubes import FINEST, Key
from dujiang.records.histogram import counted
from dujiang.records.moments import DAY_MS, HOUR_MS, id_ms
from dujiang.records.record import Record
from dujiang.records.sums import Sums
from dujiang.records.tables import QUARTER_HOURS, accumulation, rollups, users

FAILED = frozenset({"error", "cut"})
"""What counts as an error: we had no complete answer to give. Callers who left and calls we refused are no errors."""

MOST = 10**12
"""More tokens or millionths in one call than this are somebody's mistake, and would overflow the sums."""

_ADD_ROLLUP = accumulation(rollups)
_ADD_USER = accumulation(users)


def add_to_sums(connection: Connection, fresh: Iterable[tuple[bytes, Record]]) -> dict[Key, Sums]:
    """Adds records of one day, by id, to the day's sums; returns what it added to the finest.

    Raises `ValueError` for no finite time.
    """
    finest: dict[Key, Sums] = {}
    by_user: dict[tuple[Any, ...], Sums] = {}
    for id, record in fresh:
        sums = _sums_of(record)
        hour = id_ms(id) % DAY_MS // HOUR_MS
        currency = (record.currency or "") if record.cost_micros is not None else ""
        key = Key(
            FINEST,
            hour,
            record.app,
            record.model,
            record.provider,
            record.scene or "",
            record.user_role or "",
            record.status,
            currency,
        )
        finest.setdefault(key, Sums()).add(sums)
        user = (hour // QUARTER_HOURS, record.app, record.user_id or "", currency)
        by_user.setdefault(user, Sums()).add(sums)
    add_to_rollups(connection, finest)
    connection.executemany(_ADD_USER, _rows(by_user))
    return finest


def add_to_rollups(connection: Connection, sums: Mapping[Key, Sums]) -> None:
    connection.executemany(_ADD_ROLLUP, _rows(sums))


def _sums_of(record: Record) -> Sums:
    return Sums(
        1,
        record.status in FAILED,
        record.cached is not None,
        min(record.input_uncached + record.cache_read + record.cache_write, MOST),
        min(record.output_visible + record.reasoning, MOST),
        min(record.cost_micros or 0, MOST),
        counted(record.total_ms),
        0 if record.first_token_ms is None else counted(record.first_token_ms),
    )


def _rows(sums: Mapping[Any, Sums]) -> Iterator[tuple[Any, ...]]:
    return ((*key, *each.row()) for key, each in sorted(sums.items(), key=lambda item: item[0]))
