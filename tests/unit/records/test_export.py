"""Exports: every row once, in files that no spreadsheet computes."""

import csv
import io
import json
from datetime import date

import msgspec
import pytest

from benchmarks.calls import Traffic
from dujiang.core.errors import InvalidRequest
from dujiang.records.export import FORMATS, comma_separated, ndjson
from dujiang.records.moments import DAY_MS, start_of
from dujiang.records.query import RecordQuery, Scope
from dujiang.records.service import SqliteRecords
from dujiang.records.sink import SqliteSink

START = start_of(date(2026, 3, 4))
END = START + 2 * DAY_MS
FORMULA = '=HYPERLINK("http://evil.example","x")'


@pytest.fixture(scope="module")
def rows():
    made = list(Traffic(9).spread(2500, start_ms=START, end_ms=END))
    for n, start in enumerate(["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "＝1", FORMULA]):
        made[n] = msgspec.structs.replace(made[n], request_id=f"{start}", user_id='quote",\r\nline')
    return sorted(made, key=lambda row: row.id)


@pytest.fixture(scope="module")
def sink(tmp_path_factory, rows):
    sink = SqliteSink(tmp_path_factory.mktemp("export"))
    sink.insert(rows)
    yield sink
    sink.close()


@pytest.fixture(scope="module")
def records(sink):
    records = SqliteRecords(sink._calls._directory, clock=lambda: END / 1000)
    yield records
    records.close()


def test_lines_of_json_are_the_items(records, rows):
    pages = list(records.export(RecordQuery(sort="started_at"), Scope()))
    lines = b"".join(ndjson(pages)).splitlines()
    assert [json.loads(line)["id"] for line in lines] == [row.id for row in rows]
    assert max(map(len, pages)) <= 1000
    assert json.loads(lines[0]) == records.list(RecordQuery(sort="started_at", limit=1), Scope()).items[0]


def test_csv_has_a_column_for_all_and_no_formula(records, rows):
    text = b"".join(comma_separated(records.export(RecordQuery(), Scope()))).decode()
    found = list(csv.DictReader(io.StringIO(text, newline="")))
    assert [row["id"] for row in found] == [row.id for row in rows[::-1]]
    assert not [
        cell for row in found for cell in row.values() if cell.startswith(("=", "+", "-", "@", "\t", "\r", "＝"))
    ]
    by_id = {row["id"]: row for row in found}
    for row in rows:
        shown = by_id[row.id]
        assert shown["request_id"].removeprefix("'") == row.request_id
        assert shown["user_id"] == (row.user_id or "")
        assert shown["stream"] == ("true" if row.stream else "false")
        assert shown["cost_currency"] == (row.currency if row.cost_micros is not None else "")
        assert shown["usage_source"] == (row.usage_source or "")
    assert by_id[next(row.id for row in rows if row.request_id == FORMULA)]["request_id"] == f"'{FORMULA}"


def test_nothing_is_a_heading_alone():
    assert b"".join(ndjson([])) == b""
    assert b"".join(comma_separated([])).startswith(b"id,request_id,started_at,")
    assert set(FORMATS) == {"ndjson", "csv"}


def test_a_scope_holds(records, rows):
    scope = Scope("app_0", "key-app_0-1")
    found = [item["id"] for page in records.export(RecordQuery(), scope) for item in page]
    assert found == [row.id for row in rows[::-1] if row.key_id == scope.key_id]


def test_pages_are_read_when_they_are_asked_for(records, sink, rows):
    pages = records.export(RecordQuery(), Scope())
    first = next(pages)
    late = list(Traffic(10).spread(5, start_ms=END + 1000, end_ms=END + 2000))
    sink.insert(late)
    rest = [item["id"] for page in pages for item in page]
    assert [item["id"] for item in first] + rest == [row.id for row in rows[::-1]]


def test_an_export_has_no_cursor(records):
    with pytest.raises(InvalidRequest):
        records.export(RecordQuery(cursor="x"), Scope())
