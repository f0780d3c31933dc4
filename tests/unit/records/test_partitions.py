"""A file per day: when it is made, who may open it, and that nothing of a dropped one comes back."""

import sqlite3
import stat
from datetime import date

import pytest

from dujiang.core.errors import Misconfigured
from dujiang.records.moments import day_of, first_id, id_bytes, id_ms, id_text, iso, start_of
from dujiang.records.partitions import CALLS, Partitions
from dujiang.records.record import Record
from dujiang.records.tables import calls

DAY = date(2026, 3, 4)


@pytest.fixture
def partitions(tmp_path):
    partitions = Partitions(tmp_path / "records", CALLS, max_idle=3)
    yield partitions
    partitions.close()


def fill(partitions, day=DAY):
    with partitions.writing(day) as connection:
        connection.execute("INSERT INTO users VALUES (0, 'a', 'u', '', 1, 0, 0, 0, 0, 0, x'', x'')")


def users(partitions, day=DAY):
    with partitions.reading(day) as connection:
        return connection and connection.execute("SELECT count(*) FROM users").fetchone()[0]


def test_the_columns_are_the_records_fields():
    elsewhere = {"content", "charges"}
    assert [column.name for column in calls.columns] == [
        name for name in Record.__struct_fields__ if name not in elsewhere
    ]


def test_an_id_tells_its_day():
    id = "019ca3e2-8400-7abc-8def-0123456789ab"
    raw = id_bytes(id)
    assert id_text(raw) == id
    day = day_of(id_ms(raw))
    assert start_of(day) <= id_ms(raw) < start_of(day) + 86_400_000
    assert iso(start_of(day)) == f"{day}T00:00:00.000Z"
    assert first_id(id_ms(raw)) < raw < first_id(id_ms(raw) + 1)


@pytest.mark.parametrize(
    "id",
    [
        "",
        "019ca3e2-8400-4abc-8def-0123456789ab",
        "019CA3E2-8400-7ABC-8DEF-0123456789AB",
        "019ca3e284007abc8def0123456789ab",
        "ffffffff-ffff-7abc-8def-0123456789ab",
        "019ca3e2-8400-7abc-8def-0123456789ab' OR 1=1 --",
        "../../etc/passwd",
        "é" * 36,
    ],
)
def test_what_is_no_uuid7_is_no_id(id):
    with pytest.raises(ValueError, match=r"UUIDv7|hexadecimal"):
        id_bytes(id)


def test_a_day_without_a_file_has_nothing_and_reading_makes_none(partitions, tmp_path):
    assert partitions.days() == []
    assert users(partitions) is None
    assert not (tmp_path / "records").exists()


def test_a_file_is_the_owners_alone_and_in_wal_mode(partitions):
    fill(partitions)
    assert {stat.S_IMODE(file.stat().st_mode) for file in partitions.path(DAY).parent.iterdir()} == {0o600}
    assert stat.S_IMODE(partitions.path(DAY).parent.stat().st_mode) == 0o700
    with partitions.reading(DAY) as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert connection.execute("PRAGMA user_version").fetchone() == (CALLS.version,)


def test_readers_cannot_write(partitions):
    fill(partitions)
    with pytest.raises(sqlite3.OperationalError, match="readonly"), partitions.reading(DAY) as connection:
        connection.execute("DELETE FROM users")
    assert users(partitions) == 1


def test_a_transaction_that_fails_changes_nothing(partitions):
    fill(partitions)
    with pytest.raises(ZeroDivisionError), partitions.writing(DAY) as connection:
        connection.execute("DELETE FROM users")
        raise ZeroDivisionError
    assert users(partitions) == 1


def test_days_are_listed_newest_first_and_other_files_are_none(partitions):
    days = [date(2026, 3, n) for n in range(1, 8)]
    for day in days:
        fill(partitions, day)
    for name in ("2026-99-99.db", "x.db", "2026-03-05.content.db", "2026-03-01.db.bak"):
        (partitions.path(DAY).parent / name).touch()
    assert partitions.days() == days[::-1]
    assert [users(partitions, day) for day in days] == [1] * 7
    assert partitions._idle_count == 3


def test_a_dropped_day_is_gone_for_readers_that_had_it_open(partitions, tmp_path):
    fill(partitions)
    other = Partitions(tmp_path / "records", CALLS)
    assert users(other) == 1
    with other.reading(DAY) as connection:
        partitions.drop(DAY)
        assert connection.execute("SELECT count(*) FROM users").fetchone() == (1,)
    assert list((tmp_path / "records").iterdir()) == []
    assert users(other) is None
    fill(partitions)
    assert users(other) == 1
    other.close()
    assert users(partitions) == 1


def test_a_journal_left_behind_is_not_taken_for_the_new_files(partitions, tmp_path):
    fill(partitions)
    wal = partitions.path(DAY).with_name(f"{partitions.path(DAY).name}-wal")
    left = wal.read_bytes()
    partitions.drop(DAY)
    wal.write_bytes(left)
    with partitions.writing(DAY):
        pass
    assert users(partitions) == 0


def test_a_file_without_its_tables_yet_has_nothing(partitions):
    partitions.path(DAY).parent.mkdir()
    partitions.path(DAY).touch()
    assert users(partitions) is None
    fill(partitions)
    assert users(partitions) == 1


def test_the_file_of_a_later_release_is_refused(partitions):
    fill(partitions)
    partitions.close()
    with sqlite3.connect(partitions.path(DAY)) as connection:
        connection.execute(f"PRAGMA user_version = {CALLS.version + 1}")
    connection.close()
    with pytest.raises(Misconfigured, match="newer"):
        users(partitions)
    with pytest.raises(Misconfigured, match="newer"):
        fill(partitions)
