"""How SQLite answers questions: by the index that fits, and by name where a file cannot be read."""

from datetime import date

import pytest

from benchmarks.calls import Traffic
from dujiang.core.errors import Misconfigured
from dujiang.records.filters import page_statement
from dujiang.records.moments import DAY_MS, HOUR_MS, iso, start_of
from dujiang.records.partitions import CALLS, Partitions
from dujiang.records.query import RecordQuery, Scope, parse_query
from dujiang.records.service import SqliteRecords
from dujiang.records.sink import SqliteSink
from dujiang.records.tables import compiled

START = start_of(date(2026, 3, 4))
END = START + 3 * DAY_MS
ALL = Scope()


@pytest.fixture
def directory(tmp_path):
    sink = SqliteSink(tmp_path)
    sink.insert(list(Traffic(7).spread(60, start_ms=START, end_ms=END)))
    sink.close()
    return tmp_path


def parse(**parameters):
    return parse_query([(name.rstrip("_"), str(value)) for name, value in parameters.items()], END)


@pytest.mark.parametrize(
    ("parameters", "scope", "index"),
    [
        ({}, ALL, "sqlite_autoindex_calls_1"),
        ({"from_": iso(START)}, ALL, "sqlite_autoindex_calls_1"),
        ({"app": "a"}, ALL, "calls_app (app=?"),
        ({"app": "a", "to": iso(END)}, ALL, "calls_app (app=? AND id<?"),
        ({"app": "a", "user_id": "u"}, ALL, "calls_user (app=? AND user_id=?"),
        ({"user_id": "u"}, ALL, "calls_user (app=? AND user_id=?"),
        ({"user_id": "u", "from_": iso(START)}, Scope("a"), "calls_user (app=? AND user_id=? AND id>?"),
        ({"user_id": "u"}, Scope("a", "k"), "calls_user (app=? AND user_id=?"),
        (
            {"request_id": "r", "from_": iso(START), "app": "a", "user_id": "u"},
            Scope("a", "k"),
            "calls_request (request",
        ),
        ({}, Scope("a", "k"), "calls_key (key_id=?"),
        ({"status": "error"}, ALL, "calls_not_ok (status=?"),
        ({"status": "cut", "from_": iso(START)}, Scope("a"), "calls_not_ok (status=? AND id>?"),
        ({"status": "ok"}, Scope("a"), "calls_app (app=?"),
    ],
)
def test_every_question_walks_its_index_and_sorts_nothing(directory, parameters, scope, index):
    statement = compiled(page_statement(parse(**parameters), scope, None, 51))
    days = Partitions(directory, CALLS)
    with days.reading(date(2026, 3, 4)) as connection:
        plan = connection.execute(f"EXPLAIN QUERY PLAN {statement.text}", statement.values).fetchall()
    days.close()
    steps = [step for *_, step in plan]
    assert any(index in step for step in steps), steps
    is_of_many_apps = "user_id" in parameters and scope.app is None and "app" not in parameters
    assert is_of_many_apps or not any("TEMP B-TREE" in step for step in steps), steps


def test_a_day_that_cannot_be_read_is_named(directory):
    (directory / "2026-03-05.db").write_bytes(b"this is no database" * 1000)
    records = SqliteRecords(directory)
    with pytest.raises(Misconfigured, match="2026-03-05"):
        records.list(RecordQuery(limit=200, from_ms=START, to_ms=START + DAY_MS + HOUR_MS), ALL)
    assert records.list(RecordQuery(to_ms=START + DAY_MS), ALL).items
    records.close()
