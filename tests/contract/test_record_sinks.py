"""Every record once, its sums with it, whatever is sent again; and days that are forgotten."""

import sqlite3
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import date, timedelta

import msgspec
import psycopg
import pytest

from benchmarks.calls import Traffic
from dujiang.records.drain import BadRecord
from dujiang.records.moments import DAY_MS, day_of, start_of
from dujiang.records.query import RecordQuery, Scope
from dujiang.records.record import Content
from dujiang.records.retention import drop_before, drop_content_before, first_kept

START = start_of(date(2026, 3, 4))


@pytest.fixture
def sink(home):
    sink = home.sink()
    yield sink
    sink.close()


@pytest.fixture
def rows():
    return list(Traffic(1, content_share=0.2).spread(300, start_ms=START, end_ms=START + 3 * DAY_MS))


def counts(home):
    """Of the calls, held equal to those in every table of sums; what is not folded is in the finest alone."""
    stored = len(home.ask("SELECT id FROM calls"))
    finest, by_user = (
        sum(n or 0 for (n,) in home.ask(f"SELECT sum(calls) FROM {sums}"))
        for sums in ("rollups WHERE cube = 0 AND hour >= 0", "users")
    )
    assert stored == finest == by_user
    days = home.ask("SELECT cube, sum(calls) FROM rollups WHERE hour = -1 AND cube > 0 GROUP BY cube")
    hours = home.ask("SELECT cube, sum(calls) FROM rollups WHERE hour >= 0 AND cube > 0 GROUP BY cube")
    assert sorted(days) == sorted(hours)
    return stored


def test_a_batch_goes_to_its_days(sink, home, rows):
    assert sink.insert(rows) == 300
    assert counts(home) == 300
    assert sink.days() == [date(2026, 3, 6), date(2026, 3, 5), date(2026, 3, 4)]
    ids = [raw.hex() for (raw,) in home.ask("SELECT id FROM calls ORDER BY id")]
    assert ids == [row.id.replace("-", "") for row in sorted(rows, key=lambda row: row.id)]
    assert len(home.ask("SELECT 1 FROM attempts")) == sum(len(row.attempts) for row in rows)
    assert len(home.ask("SELECT 1 FROM content")) == sum(row.content is not None for row in rows)


def test_what_is_sent_again_is_stored_once_and_summed_once(sink, home, rows):
    assert sink.insert(rows[:100]) == 100
    assert sink.insert(rows[50:150] + rows[60:80]) == 50
    assert sink.insert([*rows, *rows]) == 150
    assert sink.insert([]) == 0
    sink.close()
    again = home.sink()
    assert again.insert(rows) == 0
    again.close()
    assert counts(home) == 300


def test_what_fails_half_way_is_undone_and_can_be_sent_again(sink, home, rows):
    """The sums come last; without them the transaction fails after all else is written."""
    sink.insert(rows[:1])
    with home.refusing_sums(), pytest.raises((sqlite3.OperationalError, psycopg.errors.CheckViolation)):
        sink.insert(rows[:50])
    assert counts(home) == 1
    assert sink.insert(rows[:50]) == 49
    assert counts(home) == 50


@pytest.mark.parametrize(
    "change",
    [
        {"id": "not-an-id"},
        {"id": "019ca3e2-8400-4abc-8def-0123456789ab"},
        {"request_bytes": 2**63},
        {"input_uncached": 2**70},
        {"error_text": "\ud800"},
        {"total_ms": float("nan")},
        {"total_ms": float("inf")},
        {"content": Content("\ud800", "")},
        {"app": None},
    ],
)
def test_a_record_that_can_never_be_stored_is_named_and_the_others_are_kept(sink, home, rows, change):
    bad = msgspec.structs.replace(rows[20], **change)
    with pytest.raises(BadRecord) as caught:
        sink.insert([*rows[:20], bad, *rows[21:40]])
    assert caught.value.record_id == bad.id
    sink.insert([*rows[:20], *rows[21:40]])
    assert counts(home) == 39


def test_a_bad_record_among_stored_ones_is_named(sink, home, rows):
    """Ids that are there already are no fault of the batch."""
    sink.insert(rows[:30:2])
    bad = msgspec.structs.replace(rows[25], request_bytes=2**63)
    with pytest.raises(BadRecord) as caught:
        sink.insert([*rows[:25], bad, *rows[26:30]])
    assert caught.value.record_id == bad.id
    sink.insert([*rows[:25], *rows[26:30]])
    assert counts(home) == 29


def test_odd_but_storable_values_are_kept_as_they_are(sink, home, rows):
    odd = msgspec.structs.replace(
        rows[0],
        app="'; DROP TABLE calls; --",
        user_id="nul\0after",
        error_text="\u202e\r\n\x1b[31m\u2028",
        input_uncached=2**62,
        cache_read=2**62 - 1,
        total_ms=0.0,
        first_token_ms=-1.0,
    )
    sink.insert([odd])
    assert home.ask("SELECT app, user_id, error_text, input_uncached FROM calls") == [
        (odd.app, home.stored(odd.user_id), odd.error_text, odd.input_uncached)
    ]
    sink.insert([msgspec.structs.replace(odd, id=row.id) for row in rows[1:100]])
    assert counts(home) == 100


def test_days_are_dropped_with_all_that_belongs_to_them(sink, home, rows):
    sink.insert(rows)
    keep = date(2026, 3, 6)
    assert drop_content_before(sink, date(2026, 3, 5)) == [date(2026, 3, 4)]
    assert sink.content_days() == [date(2026, 3, 6), date(2026, 3, 5)]
    assert len(sink.days()) == 3
    assert drop_before(sink, keep) == [date(2026, 3, 4), date(2026, 3, 5)]
    assert sink.days() == sink.content_days() == [keep]
    assert home.left() == {keep.isoformat()}
    assert drop_before(sink, keep) == []


def test_forgetting_stops_when_asked_and_goes_on_next_time(sink, rows):
    sink.insert(rows)
    answers = iter([False, True])
    assert drop_before(sink, date(2027, 1, 1), lambda: next(answers)) == [date(2026, 3, 4)]
    assert len(drop_before(sink, date(2027, 1, 1))) == 2


def test_a_late_record_of_a_dropped_day_is_stored(sink, home, rows):
    sink.insert(rows[:50])
    drop_before(sink, date(2026, 3, 5))
    assert sink.insert(rows[:1]) == 1
    assert counts(home) == 1


def test_readers_see_whole_batches_while_they_arrive(sink, home):
    rows = list(Traffic(2).spread(1000, start_ms=START, end_ms=START + DAY_MS))
    records = home.records()
    is_done = threading.Event()

    def read():
        seen = 0
        while not is_done.is_set() or seen < 1000:
            items = [item for page in records.export(RecordQuery(), Scope()) for item in page]
            if len(items) % 20 or len(items) < seen:
                return f"{len(items)} after {seen}"
            seen = len(items)
        return seen

    with ThreadPoolExecutor(3) as pool:
        readers = [pool.submit(read) for _ in range(3)]
        for start in range(0, 1000, 20):
            sink.insert(rows[start : start + 20])
        is_done.set()
        assert [reader.result(timeout=60) for reader in readers] == [1000] * 3
    records.close()


def test_the_first_day_kept_is_counted_back_from_today():
    now = START + 5 * DAY_MS + 1
    assert first_kept(now, 3) == day_of(now) - timedelta(days=3)
