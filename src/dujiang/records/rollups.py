"""What a batch adds to the sums of its day: by hour and by the whole day, and by user."""

from collections.abc import Iterable, Iterator
from sqlite3 import Connection
from typing import Any

from msgspec import Struct

from dujiang.records.histogram import counted, packed
from dujiang.records.moments import DAY_MS, HOUR_MS, id_ms
from dujiang.records.record import Record
from dujiang.records.tables import PLAIN_DAY, WHOLE_DAY, accumulation, rollups, users

FAILED = frozenset({"error", "cut"})
"""What counts as an error: we had no complete answer to give. Callers who left and calls we refused are no errors."""

MOST = 10**12
"""More tokens or millionths in one call than this are somebody's mistake, and would overflow the sums."""

_ADD_ROLLUP = accumulation(rollups)
_ADD_USER = accumulation(users)


class Sums(Struct):
    """Sums over calls; the order is that of `tables.SUMS` and `tables.HISTOGRAMS`."""

    calls: int = 0
    errors: int = 0
    cached: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost_micros: int = 0
    total_ms: int = 0
    first_token_ms: int = 0

    def add(self, other: "Sums") -> None:
        self.calls += other.calls
        self.errors += other.errors
        self.cached += other.cached
        self.prompt_tokens += other.prompt_tokens
        self.completion_tokens += other.completion_tokens
        self.cost_micros += other.cost_micros
        self.total_ms += other.total_ms
        self.first_token_ms += other.first_token_ms

    def row(self) -> tuple[Any, ...]:
        return (
            self.calls,
            self.errors,
            self.cached,
            self.prompt_tokens,
            self.completion_tokens,
            self.cost_micros,
            packed(self.total_ms),
            packed(self.first_token_ms),
        )


ByKey = dict[tuple[Any, ...], Sums]


def add_to_sums(connection: Connection, fresh: Iterable[tuple[bytes, Record]]) -> None:
    """Adds records of one day, by id, to the day's sums. Raises as `summed` does."""
    by_hour, by_user = summed(fresh)
    connection.executemany(_ADD_ROLLUP, _rows(by_hour))
    connection.executemany(_ADD_USER, _rows(by_user))


def summed(fresh: Iterable[tuple[bytes, Record]]) -> tuple[ByKey, ByKey]:
    """What records of one day, by id, add to `rollups` and to `users`, each by its table's primary key.

    Raises `ValueError` or `OverflowError` for no finite time.
    """
    by_hour: ByKey = {}
    by_user: ByKey = {}
    for id, record in fresh:
        sums = _sums_of(record)
        currency = (record.currency or "") if record.cost_micros is not None else ""
        rest = (
            record.app,
            record.model,
            record.provider,
            record.scene or "",
            record.user_role or "",
            record.status,
            currency,
        )
        by_hour.setdefault((id_ms(id) % DAY_MS // HOUR_MS, *rest), Sums()).add(sums)
        by_user.setdefault((record.user_id or "", record.app, currency), Sums()).add(sums)
    return by_hour | _by_day(by_hour) | _by_plain_day(by_hour), by_user


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


def _by_day(by_hour: dict[tuple[Any, ...], Sums]) -> dict[tuple[Any, ...], Sums]:
    days: dict[tuple[Any, ...], Sums] = {}
    for (_, *rest), sums in by_hour.items():
        days.setdefault((WHOLE_DAY, *rest), Sums()).add(sums)
    return days


def _by_plain_day(by_hour: dict[tuple[Any, ...], Sums]) -> dict[tuple[Any, ...], Sums]:
    days: dict[tuple[Any, ...], Sums] = {}
    for (_, app, model, provider, _, _, status, currency), sums in by_hour.items():
        days.setdefault((PLAIN_DAY, app, model, provider, "", "", status, currency), Sums()).add(sums)
    return days


def _rows(sums: dict[tuple[Any, ...], Sums]) -> Iterator[tuple[Any, ...]]:
    return ((*key, *each.row()) for key, each in sorted(sums.items(), key=lambda item: item[0]))
