"""Forgets what is old, a day at a time: a file or a partition goes as a whole, no row is ever deleted."""

from collections.abc import Callable, Iterable
from datetime import date, timedelta
from typing import Protocol

from dujiang.records.moments import day_of


class Days(Protocol):
    """What keeps records by day."""

    def days(self) -> list[date]:
        """The days that have records, the newest first."""
        ...

    def content_days(self) -> list[date]:
        """The days of which something said is kept, the newest first."""
        ...

    def drop(self, day: date) -> None:
        """Removes a day with all that belongs to it."""
        ...

    def drop_content(self, day: date) -> None:
        """Removes what was said on a day."""
        ...


def first_kept(now_ms: int, keep_days: int) -> date:
    """The oldest day to keep of `keep_days` whole days before today."""
    return day_of(now_ms) - timedelta(days=keep_days)


def drop_before(kept: Days, day: date, should_stop: Callable[[], bool] = lambda: False) -> list[date]:
    """Drops all records of the days before `day`, the oldest first, and tells which those were.

    `should_stop` is asked before every day: stopping there leaves nothing half done, the next run goes on.
    """
    return _drop(kept.days(), kept.drop, day, should_stop)


def drop_content_before(kept: Days, day: date, should_stop: Callable[[], bool] = lambda: False) -> list[date]:
    """As `drop_before`, for what was said alone: the records stay."""
    return _drop(kept.content_days(), kept.drop_content, day, should_stop)


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
