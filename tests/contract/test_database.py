"""What a database does, whichever it is."""

import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone

import pytest
from gateway import eventually
from sqlalchemy import Column, Integer, MetaData, Table, insert, inspect, select, text
from sqlalchemy.exc import DBAPIError, StatementError
from typer.testing import CliRunner

from dujiang.cli.main import app
from dujiang.core.errors import Misconfigured
from dujiang.migrations import prepare
from dujiang.storage.columns import UtcDateTime
from dujiang.storage.database import EXPECTED_SCHEMA, Database, connect

CANARY = "canary-7d1f"


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    with connect(database_url) as database:
        yield database


def tables(database):
    with database.read() as connection:
        return inspect(connection).get_table_names()


def test_a_failed_write_leaves_nothing(database):
    with pytest.raises(ZeroDivisionError):
        write_half(database)
    assert tables(database) == []


def write_half(database):
    with database.write() as connection:
        connection.execute(text("CREATE TABLE half (id INTEGER)"))
        raise ZeroDivisionError


def test_reading_changes_nothing(database):
    with database.write() as connection:
        connection.execute(text("CREATE TABLE counts (n INTEGER)"))
    with database.read() as connection:
        before = connection.execute(text("SELECT count(*) FROM counts")).scalar()
        with database.write() as other:
            other.execute(text("INSERT INTO counts VALUES (1)"))
        assert connection.execute(text("SELECT count(*) FROM counts")).scalar() == before == 0


def test_writers_take_turns_from_their_start(database_url):
    """Each reads and then writes what it read plus one: none is lost."""
    with connect(database_url) as database, database.write() as connection:
        connection.execute(text("CREATE TABLE counts (n INTEGER)"))
        connection.execute(text("INSERT INTO counts VALUES (0)"))
    failures = []

    def count():
        try:
            with connect(database_url) as mine:
                for _ in range(10):
                    with mine.write() as connection:
                        n = connection.execute(text("SELECT n FROM counts")).scalar_one()
                        time.sleep(0.002)
                        connection.execute(text("UPDATE counts SET n = :n"), {"n": n + 1})
        except Exception as failure:  # noqa: BLE001 whatever it is, the test must show it
            failures.append(failure)

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    with connect(database_url) as database, database.read() as connection:
        assert connection.execute(text("SELECT n FROM counts")).scalar() == 40


def test_an_error_does_not_show_the_values(database):
    with pytest.raises(DBAPIError) as caught, database.read() as connection:
        connection.execute(text("SELECT * FROM missing WHERE secret = :secret"), {"secret": CANARY})
    assert CANARY not in str(caught.value)


@pytest.mark.parametrize(
    ("version", "advice"), [(None, "dujiang migrate"), ("0000", "dujiang migrate"), ("9999", "Install that release")]
)
def test_another_schema_is_refused_with_advice(database, version, advice):
    if version is not None:
        mark(database, version)
    with pytest.raises(Misconfigured, match=advice):
        database.require_schema()
    assert database.state() == "schema"


def test_the_expected_schema_is_accepted(database):
    mark(database, EXPECTED_SCHEMA)
    database.require_schema()
    assert (database.schema_version(), database.state()) == (EXPECTED_SCHEMA, "ok")


def mark(database, version):
    with database.write() as connection:
        connection.execute(text("CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL)"))
        connection.execute(text("INSERT INTO alembic_version VALUES (:version)"), {"version": version})


def test_the_command_migrates_and_says_from_where_to_where(database_url):
    command = ["migrate", "--database-url", database_url]
    first, second = (CliRunner().invoke(app, command) for _ in range(2))
    assert (first.exit_code, second.exit_code) == (0, 0)
    assert f"now at schema {EXPECTED_SCHEMA} (before: none)" in first.output
    assert f"at schema {EXPECTED_SCHEMA} already" in second.output


def test_moments_come_back_aware_and_the_same(database):
    moments = Table("moments", MetaData(), Column("id", Integer, primary_key=True), Column("at", UtcDateTime))
    china = datetime(2026, 11, 24, 8, 30, 1, 5, tzinfo=timezone(timedelta(hours=8)))
    with database.write() as connection:
        moments.create(connection)
        connection.execute(insert(moments).values([{"at": china}, {"at": None}]))
    with database.read() as connection:
        stored = connection.execute(select(moments.c.at).order_by(moments.c.id)).scalars().all()
    assert stored == [china, None]
    assert stored[0].tzinfo is UTC
    with pytest.raises(StatementError, match="time zone"), database.write() as connection:
        connection.execute(insert(moments).values(at=datetime(2026, 1, 1)))  # noqa: DTZ001


def test_a_database_that_went_away_is_told_and_found_again(own_postgres):
    with connect(own_postgres.url()) as database:
        prepare(database)
        for leave, come_back in (
            (own_postgres.stop, own_postgres.start),
            (own_postgres.freeze, own_postgres.thaw),
        ):
            leave()
            assert database.state() == "unavailable"
            with pytest.raises(DBAPIError), database.write():
                pass
            come_back()
            eventually(lambda: database.state() == "ok")


def test_a_statement_that_runs_too_long_is_ended(postgres_url):
    with connect(postgres_url) as database:
        with pytest.raises(DBAPIError, match="statement timeout"), database.read() as connection:
            connection.execute(text("SELECT pg_sleep(30)"))
        with database.migrate() as connection:
            assert connection.execute(text("SHOW statement_timeout")).scalar() == "0"


def test_a_database_in_another_encoding_is_refused(postgres):
    postgres.run("CREATE DATABASE latin ENCODING 'LATIN1' TEMPLATE template0 LC_COLLATE 'C' LC_CTYPE 'C'")
    with pytest.raises(Misconfigured, match="UTF8"):
        connect(postgres.url("latin"))
    postgres.drop_database(postgres.url("latin"))
