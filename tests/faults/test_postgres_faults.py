"""PostgreSQL is killed with the server, stopped, frozen and locked: whoever was answered finds the call."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import psycopg
import pytest
from gateway import Gateway, eventually, serving
from kill_rounds import VICTIMS, rounds
from outages import outage
from scripted import environ, patient_document

from benchmarks.postgres import Postgres
from dujiang.emulator.server import Emulator

AWAY_S = 3.0


@contextmanager
def served(path: Path, emulator: Emulator, url: str) -> Iterator[Gateway]:
    with serving(path, patient_document(), environ=environ(emulator.url) | {"DUJIANG_DATABASE_URL": url}) as gateway:
        yield gateway


def test_whoever_is_killed_no_acknowledged_call_is_lost_or_doubled(
    emulator: Emulator, tmp_path: Path, postgres_url: str
) -> None:
    for each in rounds(tmp_path, emulator, list(VICTIMS), seed=5, database_url=postgres_url):
        assert each.verdict.violations == (), each
        assert each.verdict.acknowledged > 20, each


@pytest.mark.parametrize("way", ["stopped", "frozen"])
def test_while_the_database_is_away_no_call_fails_and_all_arrive_later(
    emulator: Emulator, tmp_path: Path, own_postgres: Postgres, way: str
) -> None:
    server = own_postgres
    leave, come_back = (server.stop, server.start) if way == "stopped" else (server.freeze, server.thaw)
    with served(tmp_path, emulator, server.new_database()) as gateway:
        seen = outage(gateway, emulator, leave, come_back, AWAY_S, f"{way}-")
        assert seen.failed == []
        assert len(seen.heard) > 100
        assert seen.states == ("ok", "unavailable")
        assert seen.verdict.violations == ()
        eventually(lambda: gateway.ask("/api/v1/health").json["components"]["database"] == "ok", 15)


def test_while_the_database_is_frozen_questions_are_refused_in_time_and_calls_go_on(
    emulator: Emulator, tmp_path: Path, own_postgres: Postgres
) -> None:
    with served(tmp_path, emulator, own_postgres.new_database()) as gateway:
        own_postgres.freeze()
        try:
            with ThreadPoolExecutor(12) as pool:
                asked = [pool.submit(gateway.ask, "/api/v1/records") for _ in range(12)]
                began = time.monotonic()
                while not all(each.done() for each in asked):
                    assert gateway.chat("prompt").status == 200
                    assert gateway.ask("/health/ready").status == 200
                assert time.monotonic() - began < 30
                assert {each.result().status for each in asked} <= {429, 503}
            assert gateway.ask("/api/v1/health").json["status"] == "degraded"
        finally:
            own_postgres.thaw()
        eventually(lambda: gateway.ask("/api/v1/records").status == 200, 15)


def test_a_locked_table_holds_up_nothing_but_the_drain(emulator: Emulator, tmp_path: Path, postgres_url: str) -> None:
    """What an operator's own statement may do, and what a dump of the database does for hours."""
    with served(tmp_path, emulator, postgres_url) as gateway:
        assert gateway.chat("prompt").status == 200
        eventually(lambda: len(gateway.ask("/api/v1/records").json["items"]) == 1)
        with psycopg.connect(postgres_url) as other:
            other.execute("LOCK TABLE records.calls IN ACCESS EXCLUSIVE MODE")
            assert [gateway.chat("prompt").status for _ in range(20)] == [200] * 20
            assert gateway.ask("/api/v1/records").status == 422
        eventually(lambda: len(gateway.ask("/api/v1/records").json["items"]) == 21, 30)


def test_the_configuration_is_changed_there_and_not_while_it_is_away(
    emulator: Emulator, tmp_path: Path, own_postgres: Postgres
) -> None:
    with served(tmp_path, emulator, own_postgres.new_database()) as gateway:
        fresh = {"models": {"fresh": {"targets": [{"provider": "openai", "model": "ok"}]}}}
        ask = partial(gateway.ask, "/api/v1/config", fresh, method="PATCH", headers={"If-Match": '"1"'})
        own_postgres.freeze()
        try:
            away = ask(timeout_s=60)
            assert (away.status, away.json["error"]["type"]) == (503, "database_away")
            assert gateway.chat("prompt").status == 200
        finally:
            own_postgres.thaw()
        eventually(lambda: ask().status == 200, 15)
        assert gateway.chat("fresh").status == 200
        assert gateway.ask("/api/v1/config").headers["etag"] == '"2"'
