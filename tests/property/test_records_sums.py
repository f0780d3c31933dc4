"""Every sum equals one counted from the calls themselves, whatever was asked, folded, late, sent again or upgraded."""

import math
import random
from collections import defaultdict
from datetime import date

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from stores import empty, opened

from benchmarks.calls import Traffic
from dujiang.records.cubes import CUBES, FINEST, WHOLE_DAY
from dujiang.records.histogram import ACCURACY
from dujiang.records.moments import DAY_MS, HOUR_MS, day_of, iso, start_of
from dujiang.records.query import NARROW_MS, Scope
from dujiang.records.stats_query import parse_stats

START = start_of(date(2026, 3, 4))
NOW = START + 2 * DAY_MS + 15 * HOUR_MS + 1
ROWS = list(Traffic(21).spread(150, start_ms=START, end_ms=NOW))

KEYS = {
    "app": lambda row: row.app,
    "user": lambda row: row.user_id,
    "role": lambda row: row.user_role,
    "model": lambda row: row.model or None,
    "provider": lambda row: row.provider or None,
    "scene": lambda row: row.scene,
    "status": lambda row: row.status,
    "hour": lambda row: iso(row.started_at_ms // HOUR_MS * HOUR_MS),
    "day": lambda row: day_of(row.started_at_ms).isoformat(),
}
FILTERS = {
    "app": st.sampled_from(["app_0", "app_1", "nobody"]),
    "user_id": st.sampled_from([row.user_id for row in ROWS if row.user_id][:9]),
    "user_role": st.sampled_from(["user", "vip"]),
    "model": st.sampled_from(["gpt-4", "local"]),
    "provider": st.sampled_from(["openai", "local"]),
    "status": st.sampled_from(["ok", "error", "refused"]),
    "scene": st.sampled_from(["support", "scene_1"]),
}
KEPT_LONG = {"user", "user_id", "app", "day"}

seeds = st.none() | st.integers(0, 999)
sizes = st.lists(st.integers(25, 90), min_size=1, max_size=3)
groups = st.lists(st.sampled_from(sorted(KEYS)), unique=True, min_size=1, max_size=4)
asked = st.fixed_dictionaries({}, optional=FILTERS)
hours = st.integers(0, (NOW - START) // HOUR_MS + 1)
scopes = st.builds(
    Scope, app=st.sampled_from([None, None, "app_0"]), key_id=st.sampled_from([None] * 3 + ["key-app_0-1"])
)


def insert(sink, seed, sizes):
    """In the order of time or in any other, in batches, each of which begins with the end of the one before."""
    rows = ROWS if seed is None else random.Random(seed).sample(ROWS, len(ROWS))
    position = n = 0
    while position < len(rows):
        size = sizes[n % len(sizes)]
        sink.insert(rows[max(position - 3, 0) : position + size])
        position += size
        n += 1


def is_allowed(group_by, filters, scope, from_ms, to_ms):
    is_user = "user" in group_by or "user_id" in filters
    needs_calls = scope.key_id is not None or (is_user and not {*group_by, *filters} <= KEPT_LONG)
    return not needs_calls or to_ms - from_ms <= NARROW_MS


def counted_by_hand(rows, group_by):
    found = defaultdict(list)
    for row in rows:
        found[tuple(KEYS[name](row) for name in group_by)].append(row)
    return {key: hand_made(group) for key, group in found.items()}


def hand_made(rows):
    cost = defaultdict(float)
    for row in rows:
        if row.cost_micros is not None:
            cost[row.currency] += row.cost_micros / 10**6
    firsts = sorted(row.first_token_ms for row in rows if row.first_token_ms is not None)
    totals = sorted(row.total_ms for row in rows)
    return {
        "calls": len(rows),
        "errors": sum(row.status in {"error", "cut"} for row in rows),
        "prompt_tokens": sum(row.input_uncached + row.cache_read + row.cache_write for row in rows),
        "completion_tokens": sum(row.output_visible + row.reasoning for row in rows),
        "cost": cost,
        "p50_ms": rank(totals, 0.5),
        "p99_ms": rank(totals, 0.99),
        "first_token_p95_ms": rank(firsts, 0.95),
        "cached_ratio": round(sum(row.cached is not None for row in rows) / len(rows), 6),
    }


def rank(ordered, share):
    return ordered[math.ceil(share * len(ordered)) - 1] if ordered else None


def assert_same(items, wanted, group_by):
    assert [tuple(item[name] for name in group_by) for item in items] == sorted(
        wanted, key=lambda key: [part or "" for part in key]
    )
    for item in items:
        for name, value in wanted[tuple(item[name] for name in group_by)].items():
            accuracy = ACCURACY + 1e-5 if name.endswith("_ms") else 1e-9
            assert item[name] == (None if value is None else pytest.approx(value, rel=accuracy)), name


@settings(max_examples=50)
@given(st.data(), seeds, sizes, groups, asked, scopes, hours, hours)
def test_sums_equal_counting(shared_home, data, seed, sizes, group_by, filters, scope, one, other):
    from_ms, to_ms = START + min(one, other) * HOUR_MS, START + max(one, other) * HOUR_MS
    if not is_allowed(group_by, filters, scope, from_ms, to_ms):
        to_ms = from_ms + data.draw(st.integers(0, 24)) * HOUR_MS
    with opened(shared_home, clock=lambda: NOW / 1000, timeout_s=60) as (sink, records):
        empty(sink)
        insert(sink, seed, sizes)
        given = {"group_by": ",".join(group_by), "from": iso(from_ms), "to": iso(to_ms), **filters}
        items = records.stats(parse_stats(given.items(), NOW), scope)
    names = {"user_id": "user", "user_role": "role"}
    wanted = [
        row
        for row in ROWS
        if from_ms <= row.started_at_ms < to_ms
        and scope.app in {None, row.app}
        and scope.key_id in {None, row.key_id}
        and all(KEYS[names.get(name, name)](row) == value for name, value in filters.items())
    ]
    assert_same(items, counted_by_hand(wanted, group_by), group_by)


@settings(max_examples=20)
@given(seeds, sizes)
def test_every_cube_holds_every_call_of_the_hours_that_are_folded(shared_home, seed, sizes):
    with opened(shared_home) as (sink, _):
        empty(sink)
        insert(sink, seed, sizes)
        for day in sink.days():
            own = [row for row in ROWS if day_of(row.started_at_ms) == day]
            check_cubes(shared_home.rollups(day), own, is_past=day != day_of(NOW))


def check_cubes(stored, rows, *, is_past):
    by_hour = defaultdict(int)
    for row in rows:
        by_hour[row.started_at_ms % DAY_MS // HOUR_MS] += 1
    assert summed(stored, FINEST) == by_hour
    last = max((hour for cube, hour, *_ in stored if cube != FINEST), default=-1)
    assert last == max(by_hour) if is_past else last < max(by_hour)
    folded = {hour: count for hour, count in by_hour.items() if hour <= last}
    for cube in range(1, len(CUBES)):
        assert summed(stored, cube) == folded
    for cube in range(len(CUBES)):
        assert sum(calls for number, hour, calls, *_ in stored if (number, hour) == (cube, WHOLE_DAY)) == sum(
            folded.values()
        )
    assert all((app != "") == ("app" in CUBES[cube]) for cube, _, _, app, _ in stored)
    assert all((status != "") == ("status" in CUBES[cube]) for cube, _, _, _, status in stored)


def summed(stored, cube):
    found = defaultdict(int)
    for number, hour, calls, *_ in stored:
        if number == cube and hour != WHOLE_DAY:
            found[hour] += calls
    return found
