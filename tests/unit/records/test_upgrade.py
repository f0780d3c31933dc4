"""Files of an earlier release: their calls stay, their sums are counted again, and until then nobody is misled."""

import sqlite3
from datetime import date

import pytest

from benchmarks.calls import Traffic
from dujiang.core.errors import Misconfigured
from dujiang.records.moments import DAY_MS, HOUR_MS, iso, start_of
from dujiang.records.partitions import CALLS
from dujiang.records.query import RecordQuery, Scope
from dujiang.records.service import SqliteRecords
from dujiang.records.sink import SqliteSink
from dujiang.records.stats_query import parse_stats

START = start_of(date(2026, 3, 4))
NOW = START + 2 * DAY_MS + 15 * HOUR_MS
ROWS = list(Traffic(31, content_share=0.1).spread(300, start_ms=START, end_ms=NOW))
QUESTIONS = ["app", "user", "role", "model", "scene", "status", "day", "hour", "role,scene", "model,status,hour"]

VERSION_1 = """
CREATE TABLE rollups (
  hour INTEGER NOT NULL, app TEXT NOT NULL, model TEXT NOT NULL, provider TEXT NOT NULL, scene TEXT NOT NULL,
  user_role TEXT NOT NULL, status TEXT NOT NULL, currency TEXT NOT NULL, calls INTEGER NOT NULL,
  errors INTEGER NOT NULL, cached INTEGER NOT NULL, prompt_tokens INTEGER NOT NULL, completion_tokens INTEGER NOT NULL,
  cost_micros INTEGER NOT NULL, total_ms BLOB NOT NULL, first_token_ms BLOB NOT NULL,
  PRIMARY KEY (hour, app, model, provider, scene, user_role, status, currency)
) WITHOUT ROWID;
CREATE TABLE users (
  user_id TEXT NOT NULL, app TEXT NOT NULL, currency TEXT NOT NULL, calls INTEGER NOT NULL,
  errors INTEGER NOT NULL, cached INTEGER NOT NULL, prompt_tokens INTEGER NOT NULL, completion_tokens INTEGER NOT NULL,
  cost_micros INTEGER NOT NULL, total_ms BLOB NOT NULL, first_token_ms BLOB NOT NULL,
  PRIMARY KEY (user_id, app, currency)
) WITHOUT ROWID;
INSERT INTO rollups SELECT -2, app, model, provider, '', '', status, coalesce(currency, ''), count(*), 0, 0, 0, 0, 0,
  x'', x'' FROM calls GROUP BY 2, 3, 4, 7, 8;
INSERT INTO users SELECT coalesce(user_id, ''), app, coalesce(currency, ''), count(*), 0, 0, 0, 0, 0, x'', x''
  FROM calls GROUP BY 1, 2, 3;
ALTER TABLE calls DROP COLUMN account_currency;
ALTER TABLE calls DROP COLUMN exchange_rate;
PRAGMA user_version = 1;
"""


def fill(directory):
    sink = SqliteSink(directory)
    sink.insert(ROWS)
    sink.close()
    return directory


@pytest.fixture
def earlier(tmp_path):
    """A directory as the first release left it."""
    directory = fill(tmp_path / "earlier")
    for file in directory.glob("????-??-??.db"):
        connection = sqlite3.connect(file)
        connection.executescript("DROP TABLE rollups; DROP TABLE users;" + VERSION_1)
        connection.close()
    return directory


@pytest.fixture
def sink(earlier):
    sink = SqliteSink(earlier)
    yield sink
    sink.close()


def answers(directory):
    records = SqliteRecords(directory, clock=lambda: NOW / 1000)
    try:
        questions = (parse_stats([("group_by", group), ("from", iso(START))], NOW) for group in QUESTIONS)
        pages = records.export(RecordQuery(), Scope())
        return [records.stats(question, Scope()) for question in questions], [item for page in pages for item in page]
    finally:
        records.close()


def versions(directory):
    found = []
    for file in sorted(directory.glob("????-??-??.db")):
        connection = sqlite3.connect(file)
        found += connection.execute("PRAGMA user_version").fetchone()
        connection.close()
    return found


def test_an_upgraded_file_answers_as_a_new_one(earlier, sink, tmp_path):
    sink.upgrade()
    assert versions(earlier) == [CALLS.version] * 3
    assert answers(earlier) == answers(fill(tmp_path / "new"))
    assert sink.insert(ROWS) == 0
    sink.upgrade()
    assert answers(earlier) == answers(tmp_path / "new")


def test_until_then_its_records_are_not_read(earlier):
    with pytest.raises(Misconfigured, match="next start"):
        answers(earlier)


def test_a_late_record_upgrades_its_day(earlier, sink, tmp_path):
    late = list(Traffic(32).spread(9, start_ms=START, end_ms=START + DAY_MS))
    assert sink.insert(late) == 9
    assert versions(earlier) == [CALLS.version, 1, 1]
    sink.upgrade()
    new = SqliteSink(fill(tmp_path / "new"))
    new.insert(late)
    new.close()
    assert answers(earlier) == answers(tmp_path / "new")


def test_an_upgrade_stops_when_asked_and_goes_on_next_time(earlier, sink):
    asked = iter([False, True])
    sink.upgrade(lambda: next(asked))
    assert versions(earlier) == [1, 1, CALLS.version]
    sink.upgrade()
    assert versions(earlier) == [CALLS.version] * 3


def test_an_upgrade_that_fails_changes_nothing_and_holds_up_no_other_day(earlier, sink, caplog):
    connection = sqlite3.connect(earlier / "2026-03-05.db")
    connection.execute("UPDATE calls SET total_ms = 'damaged'")
    connection.commit()
    before = connection.execute("SELECT * FROM users").fetchall()
    sink.upgrade()
    assert versions(earlier) == [CALLS.version, 1, CALLS.version]
    assert connection.execute("SELECT * FROM users").fetchall() == before
    assert "2026-03-05 are not upgraded" in caplog.text
    connection.close()


def test_what_is_no_database_holds_up_nothing(earlier, sink):
    (earlier / "2026-03-03.db").write_bytes(b"no database" * 100)
    sink.upgrade()
    assert sink.insert(list(Traffic(33).spread(5, start_ms=NOW, end_ms=NOW + HOUR_MS))) == 5
