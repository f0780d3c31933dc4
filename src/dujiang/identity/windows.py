"""Windows of time, in which money may be spent. Days, weeks (from Monday) and months are those of a time zone; hours
are those of UTC, which are the same in nearly all zones, and follow each other where clocks are changed.
"""

from datetime import datetime, timedelta
from math import inf
from typing import Literal
from zoneinfo import ZoneInfo

from msgspec import Struct

_HOUR_S = 3600

Period = Literal["hour", "day", "week", "month", "total"]


class Window(Struct, frozen=True):
    """From `start_s` until before `end_s`, in Unix seconds. `total` has neither a beginning (0) nor an end."""

    start_s: int
    end_s: float


TOTAL = Window(0, inf)


def window_at(now_s: float, per: Period, zone: ZoneInfo) -> Window:
    """The window that `now_s` is in. One in which clocks are changed is an hour longer or shorter."""
    if per == "total":
        return TOTAL
    if per == "hour":
        start_s = int(now_s) // _HOUR_S * _HOUR_S
        return Window(start_s, start_s + _HOUR_S)
    now = datetime.fromtimestamp(now_s, zone)
    midnight = datetime(now.year, now.month, now.day, tzinfo=zone)
    if per == "day":
        return _window(midnight, _days_after(midnight, 1))
    if per == "week":
        monday = _days_after(midnight, -now.weekday())
        return _window(monday, _days_after(monday, 7))
    first = midnight.replace(day=1)
    return _window(first, _days_after(first, 32).replace(day=1))


def _days_after(midnight: datetime, days: int) -> datetime:
    """The midnight of another day: what is added is days of the calendar, however long they are."""
    return midnight + timedelta(days=days)


def _window(start: datetime, end: datetime) -> Window:
    return Window(int(start.timestamp()), end.timestamp())
