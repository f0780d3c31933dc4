"""Every sum equals one counted from the calls themselves, whatever was asked, folded, late, sent again or upgraded."""

import random
from collections import defaultdict
from datetime import date

from counted import KEYS, assert_same, by_hand
from hypothesis import given, settings
from hypothesis import strategies as st
from stores import empty, opened

from benchmarks.calls import Traffic
from dujiang.records.cubes import CUBES, FINEST, WHOLE_DAY
from dujiang.records.moments import DAY_MS, HOUR_MS, day_of, iso, start_of
from dujiang.records.query import NARROW_MS, Scope
from dujiang.records.stats_query import parse_stats

START = start_of(date(2026, 3, 4))
NOW = START + 2 * DAY_MS + 15 * HOUR_MS + 1
ROWS = list(Traffic(21).spread(150, start_ms=START, end_ms=NOW))

GROUPS = sorted(KEYS.keys() - {"scene_version"})
"""The versions of scenes are counted call by call: a day at most."""
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
groups = st.lists(st.sampled_from(GROUPS), unique=True, min_size=1, max_size=4)
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
    counted = by_hand(wanted, group_by)
    assert_same(items, counted, group_by)
    in_order = sorted(counted, key=lambda key: [part or "" for part in key])
    assert [tuple(item[name] for name in group_by) for item in items] == in_order


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
