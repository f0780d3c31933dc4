"""Opening the database, and what it refuses."""

import sqlite3
import stat
from datetime import UTC, datetime, timedelta, timezone

import pytest
from sqlalchemy import Column, Integer, MetaData, Table, insert, select, text
from sqlalchemy.exc import OperationalError, StatementError

from dujiang.core.errors import AppError, Misconfigured, NotBuilt
from dujiang.storage.columns import UtcDateTime
from dujiang.storage.database import EXPECTED_SCHEMA, connect, sqlite_url

PASSWORD = "canary-7d1f"


@pytest.fixture
def url(tmp_path):
    return sqlite_url(tmp_path / "data")


def test_a_new_file_is_the_owners_alone(url, tmp_path):
    with connect(url):
        directory, file = tmp_path / "data", tmp_path / "data" / "dujiang.db"
        assert stat.S_IMODE(directory.stat().st_mode) == 0o700
        assert [stat.S_IMODE(each.stat().st_mode) for each in directory.iterdir()] == [0o600] * 3
        assert file.exists()


@pytest.mark.parametrize(
    ("pragma", "value"), [("journal_mode", "wal"), ("synchronous", 1), ("foreign_keys", 1), ("busy_timeout", 5000)]
)
def test_every_connection_is_prepared(url, pragma, value):
    with connect(url) as database, database.read() as one, database.read() as other:
        assert one.exec_driver_sql(f"PRAGMA {pragma}").scalar() == value
        assert other.exec_driver_sql(f"PRAGMA {pragma}").scalar() == value


@pytest.mark.parametrize(
    ("address", "error"),
    [
        (f"postgresql://dujiang:{PASSWORD}@db.internal/dujiang", NotBuilt),
        (f"postgresql+psycopg://dujiang:{PASSWORD}@db.internal/dujiang", NotBuilt),
        (f"postgresql://dujiang:p@{PASSWORD}@db.internal/dujiang", NotBuilt),
        (f"mysql://dujiang:{PASSWORD}@db.internal/dujiang", Misconfigured),
        (f"postgresql:/dujiang:{PASSWORD}@db.internal", Misconfigured),
        (f"postgresql://dujiang:{PASSWORD}@db.internal:port/dujiang", Misconfigured),
        (f"sqlite://dujiang:{PASSWORD}@host/file.db", Misconfigured),
        (f"sqlite:///file.db?key={PASSWORD}", Misconfigured),
        ("sqlite://", Misconfigured),
        ("sqlite:///", Misconfigured),
        ("sqlite:///:memory:", Misconfigured),
        ("sqlite+aiosqlite:///file.db", Misconfigured),
        ("file.db", Misconfigured),
        ("", Misconfigured),
    ],
)
def test_other_addresses_are_refused_without_repeating_them(address, error):
    with pytest.raises(AppError) as caught:
        connect(address)
    assert type(caught.value) is error
    assert PASSWORD not in caught.value.message
    assert "sqlite:///PATH" in caught.value.message


def test_what_is_no_database_is_refused(tmp_path):
    (tmp_path / "notes.txt").write_text("not a database, but long enough to be read as one" * 100)
    for path in (tmp_path / "notes.txt", tmp_path, tmp_path / "notes.txt" / "below"):
        with pytest.raises(Misconfigured, match="cannot be opened"):
            connect(f"sqlite:///{path}")


def test_a_failed_write_leaves_nothing(url):
    with connect(url) as database:
        with pytest.raises(ZeroDivisionError):
            _write_half(database)
        with database.read() as connection:
            assert connection.execute(text("SELECT count(*) FROM sqlite_master")).scalar() == 0


def test_a_write_locks_out_another_from_its_start(url, tmp_path):
    with connect(url) as database, database.write():
        other = sqlite3.connect(tmp_path / "data" / "dujiang.db", timeout=0, isolation_level=None)
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            other.execute("BEGIN IMMEDIATE")
        other.close()


def test_an_error_does_not_show_the_values(url):
    with connect(url) as database, pytest.raises(OperationalError) as caught, database.read() as connection:
        connection.execute(text("SELECT * FROM missing WHERE secret = :secret"), {"secret": PASSWORD})
    assert PASSWORD not in str(caught.value)


@pytest.mark.parametrize(
    ("version", "advice"), [(None, "dujiang migrate"), ("0000", "dujiang migrate"), ("9999", "Install that release")]
)
def test_another_schema_is_refused_with_advice(url, version, advice):
    with connect(url) as database:
        if version is not None:
            _mark(database, version)
        with pytest.raises(Misconfigured, match=advice):
            database.require_schema()


def test_the_expected_schema_is_accepted(url):
    with connect(url) as database:
        _mark(database, EXPECTED_SCHEMA)
        database.require_schema()
        assert database.schema_version() == EXPECTED_SCHEMA


def test_moments_come_back_aware_and_the_same(url):
    moments = Table("moments", MetaData(), Column("id", Integer, primary_key=True), Column("at", UtcDateTime))
    china = datetime(2026, 11, 24, 8, 30, 1, 5, tzinfo=timezone(timedelta(hours=8)))
    with connect(url) as database:
        with database.write() as connection:
            moments.create(connection)
            connection.execute(insert(moments).values([{"at": china}, {"at": None}]))
        with database.read() as connection:
            stored = connection.execute(select(moments.c.at).order_by(moments.c.id)).scalars().all()
        assert stored == [china, None]
        assert stored[0].tzinfo is UTC
        with pytest.raises(StatementError, match="time zone"), database.write() as connection:
            connection.execute(insert(moments).values(at=datetime(2026, 1, 1)))  # noqa: DTZ001


def _write_half(database):
    with database.write() as connection:
        connection.execute(text("CREATE TABLE half (id INTEGER)"))
        raise ZeroDivisionError


def _mark(database, version):
    with database.write() as connection:
        connection.execute(text("CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL)"))
        connection.execute(text("INSERT INTO alembic_version VALUES (:version)"), {"version": version})
