"""Redis and Valkey for tests: one server of each a session, emptied for each test; skipped where there is none."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from benchmarks.redis_server import CannotRun, Kind, RedisServer, running_redis


@contextmanager
def tested_redis(kind: Kind) -> Iterator[RedisServer]:
    running = running_redis(kind)
    try:
        server = running.__enter__()
    except CannotRun as reason:
        pytest.skip(f"{kind}: {reason}")
    try:
        yield server
    finally:
        running.__exit__(None, None, None)


@pytest.fixture(scope="session")
def valkey_server() -> Iterator[RedisServer]:
    with tested_redis("valkey") as server:
        yield server


@pytest.fixture(scope="session")
def debian_redis() -> Iterator[RedisServer]:
    with tested_redis("redis-debian") as server:
        yield server


@pytest.fixture
def own_redis() -> Iterator[RedisServer]:
    """A server that a test may kill and freeze."""
    with tested_redis("valkey") as server:
        yield server
