"""Pages laid end to end are all rows that match, in order, none twice, whatever is inserted meanwhile."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st
from stores import Home, empty, opened

from benchmarks.calls import Traffic
from dujiang.records.moments import DAY_MS, HOUR_MS, start_of
from dujiang.records.query import RecordQuery, Scope
from dujiang.records.record import Record
from dujiang.records.service import Records
from dujiang.records.stores import Store

START = start_of(date(2026, 3, 4))
END = START + 2 * DAY_MS
ROWS = list(Traffic(11).spread(160, start_ms=START, end_ms=END))
# Equal times and equal sort values are where pages go wrong.
ROWS += [
    msgspec.structs.replace(row, total_ms=500.0, cost_micros=1000, currency="CNY")
    for row in Traffic(12).spread(40, start_ms=START, end_ms=START + 4)
]

ORDERS: dict[str, Any] = {
    "started_at": lambda row: row.id,
    "-started_at": lambda row: row.id,
    "-total_ms": lambda row: (row.total_ms, row.id),
    "-cost": lambda row: (-1 if row.cost_micros is None else row.cost_micros, row.id),
}

filters = st.fixed_dictionaries(
    {},
    optional={
        "app": st.sampled_from(["app_0", "app_1", "app_2", "nobody"]),
        "user_id": st.sampled_from([row.user_id for row in ROWS if row.user_id][:20]),
        "user_role": st.sampled_from(["user", "vip"]),
        "model": st.sampled_from(["gpt-4", "local"]),
        "status": st.sampled_from(["ok", "error", "refused"]),
        "scene": st.sampled_from(["support", "scene_1"]),
        "from_ms": st.integers(START - HOUR_MS, END),
        "to_ms": st.integers(START, END + HOUR_MS),
    },
)
scopes = st.builds(
    Scope, app=st.sampled_from([None, "app_0", "app_1"]), key_id=st.sampled_from([None, None, "key-app_0-1"])
)


@contextmanager
def storing(home: Home, rows: list[Record]) -> Iterator[tuple[Store, Records]]:
    with opened(home, clock=lambda: END / 1000) as (sink, records):
        empty(sink)
        sink.insert(rows)
        yield sink, records


def matches(row: Record, query: RecordQuery, scope: Scope) -> bool:
    names = ("app", "user_id", "user_role", "model", "status", "scene")
    is_asked = all(getattr(query, name) in {None, getattr(row, name)} for name in names)
    is_seen = scope.app in {None, row.app} and scope.key_id in {None, row.key_id}
    is_after = query.from_ms is None or row.started_at_ms >= query.from_ms
    return is_asked and is_seen and is_after and (query.to_ms is None or row.started_at_ms < query.to_ms)


def in_order(rows: list[Record], query: RecordQuery, scope: Scope) -> list[str]:
    found = sorted((row for row in rows if matches(row, query, scope)), key=ORDERS[query.sort])
    ids = [row.id for row in found]
    return ids if query.sort == "started_at" else ids[::-1]


@settings(max_examples=60)
@given(
    st.data(),
    filters,
    scopes,
    st.sampled_from(sorted(ORDERS)),
    st.lists(st.integers(1, 60), min_size=1, max_size=5),
    st.integers(0, len(ROWS)),
)
def test_pages_are_all_rows_once(shared_home, data, asked, scope, sort, limits, early):
    shuffled = data.draw(st.permutations(ROWS))
    arriving = iter(shuffled[early:])
    with storing(shared_home, shuffled[:early]) as (sink, records):
        query = RecordQuery(sort=sort, **asked)
        before = set(in_order(shuffled[:early], query, scope))
        seen: list[str] = []
        cursor = None
        for n in range(500):
            page = records.list(msgspec.structs.replace(query, limit=limits[n % len(limits)], cursor=cursor), scope)
            seen += [item["id"] for item in page.items]
            cursor = page.next_cursor
            if cursor is None:
                break
            sink.insert([row for _, row in zip(range(7), arriving, strict=False)])
        everything = in_order(ROWS, query, scope)
        assert len(seen) == len(set(seen))
        assert before <= set(seen)
        assert seen == [id for id in everything if id in set(seen)]
        sink.insert(list(arriving))
        assert [item["id"] for page in records.export(query, scope) for item in page] == everything


@settings(max_examples=30)
@given(st.lists(st.integers(0, len(ROWS) - 1), max_size=60), st.lists(st.integers(1, 30), min_size=1, max_size=6))
def test_any_order_and_any_repetition_stores_each_row_once(shared_home, order, sizes):
    with storing(shared_home, []) as (sink, records):
        inserted = 0
        position = 0
        for n in range(200):
            size = sizes[n % len(sizes)]
            batch = [ROWS[i] for i in order[position : position + size]]
            inserted += sink.insert(batch)
            position += size // 2 + 1
            if position >= len(order):
                break
        stored = [item["id"] for page in records.export(RecordQuery(), Scope()) for item in page]
        assert len(stored) == len(set(stored)) == inserted
        assert set(stored) <= {ROWS[i].id for i in order}
