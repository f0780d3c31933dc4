"""Chooses where records are kept, by the database's URL: in files of their own, or in PostgreSQL."""

from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Protocol

from dujiang.records.drain import Sink
from dujiang.records.places import RECORDS
from dujiang.records.postgres.service import PostgresRecords
from dujiang.records.postgres.sink import PostgresSink
from dujiang.records.repricing import Repriced, Repricing
from dujiang.records.retention import Days
from dujiang.records.service import Records, SqliteRecords
from dujiang.records.sink import SqliteSink
from dujiang.storage.database import parse_url
from dujiang.storage.postgresql import address_of, is_postgresql


class Store(Sink, Days, Protocol):
    """Where records are written and forgotten."""

    def upgrade(self, should_stop: Callable[[], bool]) -> None:
        """Brings what earlier releases wrote to this one's form; `should_stop` is asked before every day."""
        ...

    def appraise(self, day: date, repricing: Repricing) -> Repriced:
        """What pricing a day again would come to. Changes nothing."""
        ...

    def reprice(self, day: date, repricing: Repricing) -> Repriced:
        """Prices a day's calls again, all of them or, on any failure, none."""
        ...

    def close(self) -> None: ...


def open_store(database_url: str, data_dir: Path) -> Store:
    """For the drain and retention. Raises `Misconfigured` where it cannot be used."""
    url = parse_url(database_url)
    return PostgresSink(address_of(url)) if is_postgresql(url) else SqliteSink(data_dir / RECORDS)


def open_records(database_url: str, data_dir: Path) -> Records:
    """For questions. Raises `Misconfigured` where it cannot be used."""
    url = parse_url(database_url)
    return PostgresRecords(address_of(url)) if is_postgresql(url) else SqliteRecords(data_dir / RECORDS)
