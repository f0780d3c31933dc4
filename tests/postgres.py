"""PostgreSQL for tests: one server a session, a database a test; skipped, saying why, where it is not to be had."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from benchmarks.postgres import CannotRun, Kind, Postgres, running_postgres

FAST = {
    "fsync": "off",
    "shared_buffers": "64MB",
    "checkpoint_timeout": "1h",
    "max_wal_size": "4GB",
    "autovacuum_naptime": "5s",
}
"""Nothing here is to survive the machine."""


@contextmanager
def tested_postgres(kind: Kind) -> Iterator[Postgres]:
    running = running_postgres(kind, FAST)
    try:
        server = running.__enter__()
    except CannotRun as reason:
        pytest.skip(f"PostgreSQL of {kind}: {reason}")
    try:
        yield server
    finally:
        running.__exit__(None, None, None)


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    with tested_postgres("wheel") as server:
        yield server


@pytest.fixture(scope="session")
def debian_postgres() -> Iterator[Postgres]:
    with tested_postgres("debian") as server:
        yield server


@pytest.fixture
def own_postgres() -> Iterator[Postgres]:
    """A server that a test may stop and freeze."""
    with tested_postgres("wheel") as server:
        yield server


@pytest.fixture
def postgres_url(postgres: Postgres) -> Iterator[str]:
    """The address of an empty database."""
    url = postgres.new_database()
    yield url
    postgres.drop_database(url)
