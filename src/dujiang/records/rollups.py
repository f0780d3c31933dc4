"""What a batch adds to the sums of its day at once: to the finest by hour, and by user."""

from collections.abc import Iterable
from typing import NamedTuple

from dujiang.records.cubes import FINEST, Key
from dujiang.records.histogram import counted
from dujiang.records.moments import DAY_MS, HOUR_MS, id_ms
from dujiang.records.record import Record
from dujiang.records.sums import Sums
from dujiang.records.tables import QUARTER_HOURS

FAILED = frozenset({"error", "cut"})
"""What counts as an error: we had no complete answer to give. Callers who left and calls we refused are no errors."""

MOST = 10**12
"""More tokens or millionths in one call than this are somebody's mistake, and would overflow the sums."""


class UserKey(NamedTuple):
    """Of a row of `tables.users`. What a call has not is an empty text."""

    quarter: int
    app: str
    user_id: str
    currency: str


class Added(NamedTuple):
    """What calls add to a day's sums."""

    finest: dict[Key, Sums]
    by_user: dict[UserKey, Sums]


def summed(fresh: Iterable[tuple[bytes, Record]]) -> Added:
    """What records of one day, by id, come to. Raises `ValueError` or `OverflowError` for no finite time."""
    added = Added({}, {})
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
        added.finest.setdefault(key, Sums()).add(sums)
        user = UserKey(hour // QUARTER_HOURS, record.app, record.user_id or "", currency)
        added.by_user.setdefault(user, Sums()).add(sums)
    return added


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
