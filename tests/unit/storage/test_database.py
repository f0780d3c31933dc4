"""Opening the database, and what it refuses."""

import sqlite3
import stat

import pytest
from sqlalchemy import make_url

from dujiang.core.errors import Misconfigured
from dujiang.storage.database import connect, sqlite_url
from dujiang.storage.postgresql import address_of

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
    "address",
    [
        f"postgresql://dujiang:p@{PASSWORD}@db.internal/dujiang",
        f"postgresql+asyncpg://dujiang:{PASSWORD}@db.internal/dujiang",
        f"postgresql://dujiang:{PASSWORD}@db.internal/",
        f"postgresql://dujiang:{PASSWORD}@/dujiang",
        f"postgresql://dujiang@db.internal/dujiang?password={PASSWORD}",
        f"postgresql://dujiang:secret@db.internal/dujiang?options=-c%20{PASSWORD}",
        f"mysql://dujiang:{PASSWORD}@db.internal/dujiang",
        f"postgresql:/dujiang:{PASSWORD}@db.internal",
        f"postgresql://dujiang:{PASSWORD}@db.internal:port/dujiang",
        f"sqlite://dujiang:{PASSWORD}@host/file.db",
        f"sqlite:///file.db?key={PASSWORD}",
        "sqlite://",
        "sqlite:///",
        "sqlite:///:memory:",
        "sqlite+aiosqlite:///file.db",
        "file.db",
        "",
    ],
)
def test_other_addresses_are_refused_without_repeating_them(address):
    with pytest.raises(Misconfigured) as caught:
        connect(address)
    assert PASSWORD not in caught.value.message
    assert "sqlite:///PATH" in caught.value.message


def test_what_is_no_database_is_refused(tmp_path):
    (tmp_path / "notes.txt").write_text("not a database, but long enough to be read as one" * 100)
    for path in (tmp_path / "notes.txt", tmp_path, tmp_path / "notes.txt" / "below"):
        with pytest.raises(Misconfigured, match="cannot be opened"):
            connect(f"sqlite:///{path}")


def test_a_write_locks_out_another_from_its_start(url, tmp_path):
    with connect(url) as database, database.write():
        other = sqlite3.connect(tmp_path / "data" / "dujiang.db", timeout=0, isolation_level=None)
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            other.execute("BEGIN IMMEDIATE")
        other.close()


def test_a_server_that_is_not_there_is_named_without_its_password():
    with pytest.raises(Misconfigured, match=r"dujiang on 127\.0\.0\.1 cannot be reached") as caught:
        connect(f"postgresql://user:{PASSWORD}@127.0.0.1:1/dujiang")
    assert PASSWORD not in str(caught.value)


def test_a_passwords_characters_are_what_they_were_written_as():
    address = address_of(make_url("postgres://us%40er:p%40%2F%3A%25@[::1]:5433/dujiang?sslmode=require"))
    assert address.parameters == {
        "user": "us@er",
        "password": "p@/:%",
        "host": "::1",
        "port": 5433,
        "dbname": "dujiang",
        "sslmode": "require",
    }
    assert address.label == "dujiang on ::1"
