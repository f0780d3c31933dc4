"""Sums equal what counting every call gives; quantiles are within 5 %."""

import random
from datetime import date

import msgspec
import pytest
from counted import KEYS, assert_same, by_hand, rank
from stores import opened

from benchmarks.calls import Traffic
from dujiang.core.errors import InvalidRequest, Unprocessable
from dujiang.records.histogram import ACCURACY, added, counted, packed, quantiles, unpacked
from dujiang.records.moments import DAY_MS, HOUR_MS, iso, start_of
from dujiang.records.query import Scope
from dujiang.records.stats_query import parse_stats

START = start_of(date(2026, 3, 4))
NOW = START + 3 * DAY_MS + 5 * HOUR_MS + 1234
ALL = Scope()


@pytest.fixture(scope="module")
def rows():
    made = list(Traffic(3).spread(900, start_ms=START + 7 * HOUR_MS, end_ms=NOW))
    versions = [n % 3 if n % 3 and row.scene else None for n, row in enumerate(made)]
    return [msgspec.structs.replace(row, scene_version=version) for row, version in zip(made, versions, strict=True)]


@pytest.fixture(scope="module")
def records(shared_home, rows):
    with opened(shared_home, clock=lambda: NOW / 1000, timeout_s=60) as (sink, records):
        for start in range(0, 900, 100):
            sink.insert(rows[start : start + 120])
        yield records


def ask(records, scope=ALL, **parameters):
    query = parse_stats([(name.rstrip("_"), value) for name, value in parameters.items()], NOW)
    return records.stats(query, scope)


SINGLE = [(name,) for name in KEYS if name != "scene_version"]
"""The versions of scenes are counted call by call: a day at most."""


@pytest.mark.parametrize(
    "group_by",
    [(), *SINGLE, ("model", "day"), ("day", "app", "status"), ("app", "hour"), ("user", "app"), ("user", "day")],
)
def test_sums_over_days_equal_counting(records, rows, group_by):
    items = ask(records, group_by=",".join(group_by), from_=iso(START)) if group_by else ask(records, from_=iso(START))
    assert_same(items, by_hand(rows, group_by), group_by)


@pytest.mark.parametrize(
    "group_by",
    [*SINGLE, ("user", "model"), ("user", "hour"), ("role", "scene"), ("scene_version",), ("scene", "scene_version")],
)
@pytest.mark.parametrize("scope", [ALL, Scope("app_0"), Scope("app_0", "key-app_0-1")])
def test_sums_over_a_part_of_two_days_equal_counting(records, rows, group_by, scope):
    first, last = START + DAY_MS + 13 * HOUR_MS, START + 2 * DAY_MS + 11 * HOUR_MS
    items = ask(records, scope, group_by=",".join(group_by), from_=iso(first), to=iso(last))
    wanted = [row for row in rows if first <= row.started_at_ms < last and scope.app in {None, row.app}]
    wanted = [row for row in wanted if scope.key_id in {None, row.key_id}]
    assert_same(items, by_hand(wanted, group_by), group_by)


@pytest.mark.parametrize(
    "filters",
    [
        {"app": "app_1"},
        {"user_id": "user-7"},
        {"model": "gpt-4", "status": "ok"},
        {"scene": "support", "user_role": "vip"},
    ],
)
def test_filters_hold(records, rows, filters):
    items = ask(records, group_by="app", from_=iso(START + DAY_MS), to=iso(START + 2 * DAY_MS), **filters)
    wanted = [row for row in rows if START + DAY_MS <= row.started_at_ms < START + 2 * DAY_MS]
    wanted = [row for row in wanted if all(getattr(row, name) == value for name, value in filters.items())]
    assert_same(items, by_hand(wanted, ("app",)), ("app",))


def test_times_are_rounded_outward_to_hours(records, rows):
    first = START + DAY_MS + 90 * 60_000
    (item,) = ask(records, from_=iso(first), to=iso(first + 1))
    start = START + DAY_MS + HOUR_MS
    assert item["calls"] == sum(start <= row.started_at_ms < start + HOUR_MS for row in rows)


def test_the_last_day_is_meant_where_nothing_is_said(records, rows):
    (item,) = ask(records)
    end = -(-NOW // HOUR_MS) * HOUR_MS
    assert item["calls"] == sum(end - DAY_MS <= row.started_at_ms < end for row in rows)


def test_an_interval_is_a_group(records):
    assert ask(records, interval="hour", group_by="app") == ask(records, group_by="app,hour")


def test_another_app_has_nothing_to_sum(records):
    assert ask(records, Scope("app_0"), app="app_1") == []
    for group in ("app", "user", "model"):
        assert sum(item["calls"] for item in ask(records, Scope("nobody"), group_by=group)) == 0


@pytest.mark.parametrize(
    ("parameters", "scope"),
    [({"group_by": "user,model"}, ALL), ({"group_by": "user,hour"}, ALL), ({"group_by": "app"}, Scope("app_0", "key"))],
)
def test_what_only_calls_can_tell_needs_a_day_at_most(records, parameters, scope):
    with pytest.raises(InvalidRequest, match="24 hours"):
        ask(records, scope, from_=iso(START), **parameters)
    ask(records, scope, **parameters)


@pytest.mark.parametrize(
    "parameters",
    [
        {"group_by": "colour"},
        {"group_by": ""},
        {"interval": "week"},
        {"from_": "1990-01-01"},
        {"from_": iso(NOW + DAY_MS)},
    ],
)
def test_bad_questions_are_refused(records, parameters):
    with pytest.raises(InvalidRequest):
        ask(records, **parameters)
    with pytest.raises(Unprocessable):
        ask(records, request_id="x")


def test_quantiles_are_within_their_accuracy():
    draw = random.Random(5)
    for scale in (0.02, 1, 50, 3000, 10**6):
        values = sorted(draw.lognormvariate(0, 1) * scale for _ in range(501))
        total = sum(map(counted, values))
        for share, found in zip(
            (0.01, 0.5, 0.95, 0.99, 1.0), quantiles(total, (0.01, 0.5, 0.95, 0.99, 1.0)), strict=True
        ):
            true = rank(values, share)
            assert found == pytest.approx(true, rel=ACCURACY + 0.01, abs=0.01)


def test_a_histogram_survives_storage_and_adding():
    one, other = counted(12.5) + counted(0), counted(12.5) + counted(9e9)
    assert unpacked(packed(one)) == one
    assert unpacked(added(packed(one), packed(other))) == one + other
    assert packed(0) == b""
    assert unpacked(b"") == 0
    assert quantiles(0, (0.5,)) == [None]
    assert len(packed(counted(1000.0))) == 2
