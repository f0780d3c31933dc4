"""Forgets what is old, a day at a time: a file is unlinked, no row is ever deleted."""

from collections.abc import Callable, Iterable
from datetime import date, timedelta

from dujiang.records.moments import day_of
from dujiang.records.sink import SqliteSink


def first_kept(now_ms: int, keep_days: int) -> date:
    """The oldest day to keep of `keep_days` whole days before today."""
    return day_of(now_ms) - timedelta(days=keep_days)


def drop_before(sink: SqliteSink, day: date, should_stop: Callable[[], bool] = lambda: False) -> list[date]:
    """Drops all records of the days before `day`, the oldest first, and tells which those were.

    `should_stop` is asked before every day: stopping there leaves nothing half done, the next run goes on.
    """
    return _drop(sink.days(), sink.drop, day, should_stop)


def drop_content_before(sink: SqliteSink, day: date, should_stop: Callable[[], bool] = lambda: False) -> list[date]:
    """As `drop_before`, for what was said alone: the records stay."""
    return _drop(sink.content_days(), sink.drop_content, day, should_stop)


def _drop(
    days: Iterable[date], drop: Callable[[date], None], first: date, should_stop: Callable[[], bool]
) -> list[date]:
    dropped: list[date] = []
    for day in sorted(day for day in days if day < first):
        if should_stop():
            break
        drop(day)
        dropped.append(day)
    return dropped
