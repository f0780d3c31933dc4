"""What only PostgreSQL does: servers that share it, tables and partitions made by several, drops beside readers."""

import json
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import date

import psycopg
import pytest
from sqlalchemy import select
from stores import PostgresHome

from benchmarks.calls import Traffic
from dujiang.core.errors import Misconfigured, Unprocessable
from dujiang.migrations import prepare
from dujiang.records.cubes import COARSER
from dujiang.records.moments import DAY_MS, start_of
from dujiang.records.postgres import tables
from dujiang.records.postgres.reading import DAY, Reader, compiled
from dujiang.records.query import RecordQuery, Scope
from dujiang.records.reading import Clock
from dujiang.records.tables import attempts, calls, content, rollups, users
from dujiang.storage.database import connect

START = start_of(date(2026, 3, 4))
ALL = Scope()


@pytest.fixture
def home(postgres_url) -> PostgresHome:
    return PostgresHome(postgres_url)


@pytest.fixture
def rows():
    return list(Traffic(5, content_share=0.3).spread(400, start_ms=START, end_ms=START + 2 * DAY_MS))


@pytest.fixture
def other(postgres_url) -> Iterator[psycopg.Connection]:
    """Somebody else's connection."""
    with psycopg.connect(postgres_url) as connection:
        yield connection


def sums(home):
    return [
        home.ask("SELECT count(*) FROM calls")[0][0],
        *(int(home.ask(f"SELECT coalesce(sum(calls), 0) FROM {table}")[0][0]) for table in ("users",)),
        int(home.ask("SELECT coalesce(sum(calls), 0) FROM rollups WHERE cube = 0 AND hour >= 0")[0][0]),
    ]


def test_the_tables_have_every_column_of_the_shared_ones(home):
    home.sink().close()
    for shared in (calls, attempts, content, rollups, users):
        found = home.ask(
            "SELECT column_name FROM information_schema.columns "
            f"WHERE table_schema = 'records' AND table_name = '{shared.name}' AND column_name <> 'day' "
            "ORDER BY ordinal_position"
        )
        assert [name for (name,) in found] == [column.name for column in shared.columns]


def test_servers_that_share_a_database_store_each_record_once_and_sum_it_once(home, rows):
    """Six at once, all with overlapping batches in another order each, days that nobody has made yet included."""

    def serve(n):
        sink = home.sink()
        try:
            mine = rows[n * 40 :] + rows[: n * 40]
            return sum(sink.insert(mine[start : start + 50]) for start in range(0, len(mine), 50))
        finally:
            sink.close()

    with ThreadPoolExecutor(6) as pool:
        stored = list(pool.map(serve, range(6)))
    assert sum(stored) == len(rows)
    assert sums(home) == [len(rows)] * 3
    folded, whole = (
        home.ask(f"SELECT cube, sum(calls) FROM rollups WHERE cube > 0 AND hour {hours} GROUP BY cube ORDER BY cube")
        for hours in (">= 0", "= -1")
    )
    assert folded == whole
    assert [cube for cube, _ in folded] == list(COARSER)
    assert len({calls for _, calls in folded}) == 1


def test_a_day_before_that_cannot_be_folded_holds_up_nothing(home, rows, other, caplog):
    sink = home.sink()
    sink.insert(rows[:50])
    sink.close()
    other.execute("ALTER TABLE records.rollups_20260304 RENAME TO away")
    other.commit()
    sink = home.sink()
    assert sink.insert(rows[-50:]) == 50
    assert "2026-03-04 are not folded" in caplog.text
    sink.close()


def test_tables_made_by_several_at_once_are_made_once(home):
    failures = []

    def start():
        try:
            home.sink().close()
        except Exception as failure:  # noqa: BLE001 whatever it is, the test must show it
            failures.append(failure)

    threads = [threading.Thread(target=start) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert home.ask("SELECT count(*) FROM installation") == [(1,)]


@pytest.mark.parametrize(("change", "reason"), [(1, "a newer one was here"), (-1, "before the first release")])
def test_tables_of_another_version_are_refused(home, other, change, reason):
    home.sink().close()
    other.execute("UPDATE records.installation SET schema_version = schema_version + %s", [change])
    other.commit()
    for opened in (home.sink, home.records):
        with pytest.raises(Misconfigured, match=reason):
            opened()


def test_a_role_that_may_not_create_is_told_so(postgres, postgres_url):
    postgres.run("CREATE ROLE guest LOGIN PASSWORD 'guest'")
    url = postgres_url.replace(postgres.url("").split("@")[0], "postgresql://guest:guest")
    with connect(url) as database, pytest.raises(Misconfigured, match="cannot be migrated: permission denied"):
        prepare(database)
    with pytest.raises(Misconfigured, match=r"cannot be used in .*: permission denied"):
        PostgresHome(url).sink()
    postgres.run("DROP ROLE guest")


def test_a_cursor_of_one_server_is_read_by_another(home, rows):
    sink, one, two = home.sink(), home.records(), home.records()
    sink.insert(rows)
    query = RecordQuery(limit=10)
    following = RecordQuery(limit=10, cursor=one.list(query, ALL).next_cursor)
    assert two.list(following, ALL).items == one.list(following, ALL).items
    for each in (sink, one, two):
        each.close()


def test_a_drop_waits_for_a_reader_for_a_moment_only_and_keeps_nobody_out_for_longer(home, rows, other):
    sink, records = home.sink(), home.records()
    sink.insert(rows)
    other.execute("SELECT count(*) FROM records.calls")  # in a transaction, as a dump of the database is for hours
    with pytest.raises(psycopg.errors.LockNotAvailable):
        sink.drop(date(2026, 3, 4))
    assert len(records.list(RecordQuery(limit=5), ALL).items) == 5
    assert sink.insert(rows[:5]) == 0
    other.rollback()
    sink.drop(date(2026, 3, 4))
    assert sink.days() == [date(2026, 3, 5)]
    sink.close()
    records.close()


def test_a_new_day_is_made_while_others_read(home, rows, other):
    sink = home.sink()
    sink.insert(rows[:200])
    other.execute("SELECT count(*) FROM records.calls")
    assert sink.insert(rows[200:]) == 200
    sink.close()


def test_a_page_of_one_day_waits_for_no_other(home, rows, other):
    """Whoever drops a day keeps everybody out of it for a moment, and of the partitioned table."""
    sink, records = home.sink(), home.records(timeout_s=5)
    sink.insert(rows)
    other.execute("LOCK TABLE ONLY records.calls, records.calls_20260304 IN ACCESS EXCLUSIVE MODE")
    assert len(records.list(RecordQuery(limit=50), ALL).items) == 50
    newest = rows[-1].id
    assert records.get(newest, ALL, with_content=True)["id"] == newest
    other.rollback()
    sink.close()
    records.close()


def test_of_a_day_that_is_dropped_while_it_is_asked_about_nothing_is_found(home, rows):
    sink = home.sink()
    sink.insert(rows)
    sql = compiled(select(DAY).select_from(calls))
    days = [date(2026, 3, 5), date(2026, 3, 4), date(2026, 3, 3)]
    with closing(Reader(home.address, size=1)) as reader, reader.question(Clock(60)) as question:
        assert question.days() == days[:2]
        assert Counter(day for (day,) in question.rows(days, sql)) == {20260305: 200, 20260304: 200}
        sink.drop(days[1])
        assert Counter(day for found in question.each(days, sql) for (day,) in found) == {20260305: 200}
    sink.close()


def test_what_was_said_may_be_gone_sooner(home, rows):
    sink, records = home.sink(), home.records()
    sink.insert(rows)
    said = next(row for row in rows if row.content is not None)
    assert records.get(said.id, ALL, with_content=True)["content"] is not None
    sink.drop_content(date(2026, 3, 4))
    assert records.get(said.id, ALL, with_content=True)["content"] is None
    sink.close()
    records.close()


def test_a_writer_that_was_killed_in_its_transaction_does_not_keep_others_out(home, rows, other):
    """Its server's end of the connection is found dead, or its session idle for too long; here an operator ends it."""
    sink = home.sink()
    sink.insert(rows[:1])
    other.execute("SELECT pg_advisory_xact_lock(%s, %s)", (0x64756A, date(2026, 3, 4).toordinal()))
    pid = other.info.backend_pid
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(sink.insert, rows[:50])
        with psycopg.connect(home.url, autocommit=True) as operator:
            operator.execute("SELECT pg_terminate_backend(%s)", (pid,))
        assert waiting.result(timeout=30) == 49
    other.close()
    sink.close()


def test_a_question_is_ended_by_the_database_in_time(home, rows, other):
    sink, records = home.sink(), home.records(timeout_s=0.3)
    sink.insert(rows)
    other.execute("LOCK TABLE records.calls IN ACCESS EXCLUSIVE MODE")
    for ask in (lambda: records.list(RecordQuery(), ALL), lambda: next(records.export(RecordQuery(), ALL))):
        with pytest.raises(Unprocessable, match="too long"):
            ask()
    other.rollback()
    assert records.list(RecordQuery(), ALL).items
    records.close()
    sink.close()


@pytest.mark.parametrize(
    ("wanted", "index"),
    [
        ("app = 'app_6'", "app_id_idx"),
        ("key_id = 'key-app_3-1'", "key_id_id_idx"),
        ("app = 'app_9' AND user_id = 'user-7'", "app_user_id_id_idx"),
        ("request_id = 'nowhere'", "request_id_id_idx"),
        ("status = 'error' AND status <> 'ok'", "status_id_idx"),
        ("true", "pkey"),
    ],
)
def test_a_question_walks_its_index_and_sorts_less_than_a_page(full_home, wanted, index):
    """For values neither so frequent that walking by time meets them soon, nor so rare that sorting is free. Of a
    status PostgreSQL expects too few rows, since it takes the second condition for another one, and may sort those.
    """
    [([page],)] = full_home.ask(
        f"EXPLAIN (FORMAT JSON) SELECT * FROM calls_20260304 WHERE {wanted} ORDER BY id DESC LIMIT 51"
    )
    [plan] = page["Plan"]["Plans"]
    assert index in json.dumps(plan)
    assert plan["Node Type"] != "Sort" or plan["Plan Rows"] < 51
    assert "Seq Scan" not in json.dumps(plan)


@pytest.fixture(scope="module")
def full_home(postgres) -> Iterator[PostgresHome]:
    url = postgres.new_database()
    home = PostgresHome(url)
    sink = home.sink()
    many = list(Traffic(6).spread(10_000, start_ms=START, end_ms=START + DAY_MS))
    for start in range(0, len(many), 1000):
        sink.insert(many[start : start + 1000])
    sink.close()
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("VACUUM ANALYZE")
    yield home
    postgres.drop_database(url)


def test_there_are_no_more_indexes_than_questions(full_home):
    found = full_home.ask("SELECT count(*) FROM pg_indexes WHERE tablename = 'calls_20260304'")
    assert found == [(1 + len(tables.calls.indexes),)]
    assert len(tables.calls.indexes) == 5
