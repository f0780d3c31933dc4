"""Windows of time follow the calendar of a place."""

from datetime import datetime
from math import inf
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from dujiang.identity.windows import window_at

SHANGHAI = ZoneInfo("Asia/Shanghai")
ZONES = ["UTC", "Asia/Shanghai", "Europe/Berlin", "America/New_York", "Asia/Kathmandu", "Australia/Lord_Howe"]


def seconds(text, zone=SHANGHAI):
    return datetime.fromisoformat(text).replace(tzinfo=zone).timestamp()


@pytest.mark.parametrize(
    ("per", "start", "end"),
    [
        ("hour", "2026-11-25 10:00", "2026-11-25 11:00"),
        ("day", "2026-11-25 00:00", "2026-11-26 00:00"),
        ("week", "2026-11-23 00:00", "2026-11-30 00:00"),
        ("month", "2026-11-01 00:00", "2026-12-01 00:00"),
    ],
)
def test_windows_begin_where_the_calendar_says(per, start, end):
    window = window_at(seconds("2026-11-25 10:38:11"), per, SHANGHAI)
    assert (window.start_s, window.end_s) == (seconds(start), seconds(end))


def test_a_total_never_ends():
    window = window_at(seconds("2026-11-25 10:38"), "total", SHANGHAI)
    assert (window.start_s, window.end_s) == (0, inf)


def test_a_day_on_which_clocks_are_changed_is_shorter_or_longer():
    berlin = ZoneInfo("Europe/Berlin")
    spring = window_at(seconds("2026-03-29 12:00", berlin), "day", berlin)
    autumn = window_at(seconds("2026-10-25 12:00", berlin), "day", berlin)
    assert [spring.end_s - spring.start_s, autumn.end_s - autumn.start_s] == [23 * 3600, 25 * 3600]


@given(st.floats(0, 4e9), st.sampled_from(["hour", "day", "week", "month"]), st.sampled_from(ZONES))
@example(seconds("2026-10-25 02:30", ZoneInfo("Europe/Berlin")), "day", "Europe/Berlin")
@example(seconds("2026-04-05 01:45", ZoneInfo("Australia/Lord_Howe")), "hour", "Australia/Lord_Howe")
def test_every_moment_is_in_one_window_and_they_follow_each_other(now, per, zone):
    place = ZoneInfo(zone)
    window = window_at(now, per, place)
    assert window.start_s <= now < window.end_s
    following = window_at(window.end_s, per, place)
    assert following.start_s == window.end_s
    assert window_at(window.end_s - 0.001, per, place) == window
    assert window_at(window.start_s, per, place) == window
