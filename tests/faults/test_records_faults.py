"""Records outlive kills, a locked database, a full journal and a shutdown: whoever was answered finds the call."""

import resource
import signal
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from threading import Thread

from callers import NATIVE, OPENAI, Heard, Question, ask_all
from gateway import Answer, Gateway, counters, eventually, serving
from kill_rounds import VICTIMS, loading, rounds
from ledger import Row, check, costs, counted, exported, settle
from scripted import document, environ

from dujiang.emulator.server import Emulator
from dujiang.records.places import RECORDS
from dujiang.records.query import Scope, parse_query
from dujiang.records.service import SqliteRecords

LOCKED_S = 5.5
"""Longer than a writer waits for a lock, so that the drain fails and has to come again."""

LARGE = "问" * 60_000

Full = Callable[[Gateway], AbstractContextManager[None]]


def test_whoever_is_killed_no_acknowledged_call_is_lost_or_doubled(emulator: Emulator, tmp_path: Path) -> None:
    for each in rounds(tmp_path, emulator, list(VICTIMS), seed=4):
        assert each.verdict.violations == (), each
        assert each.verdict.acknowledged > 20, each


@contextmanager
def locked(gateway: Gateway) -> Iterator[None]:
    """Nobody else can write to any day's file: what another program may do to a SQLite file."""
    gateway.ask(NATIVE, {"model": "prompt", "parameters": {"prompt": "x"}, "request_id": "to make the file"})
    settle(gateway)
    connections = [sqlite3.connect(path, isolation_level=None) for path in (gateway.data_dir / RECORDS).glob("*.db")]
    try:
        for connection in connections:
            connection.execute("BEGIN EXCLUSIVE")
        yield
    finally:
        for connection in connections:
            connection.close()


def test_while_the_database_is_locked_no_call_fails_and_all_arrive_later(emulator: Emulator, tmp_path: Path) -> None:
    with serving(tmp_path, document(), environ=environ(emulator.url)) as gateway:
        with locked(gateway):
            before = counted(emulator)
            load, thread = loading(gateway.port, "locked-", 1, LOCKED_S)
            thread.join()
            assert not exported(gateway, "locked-")
            assert gateway.metric("dujiang_records_waiting_bytes") > 0
        assert {call.status for call in load.heard} <= {200, 502, 503}  # the last two are the models' own
        assert all(call.is_complete for call in load.heard)
        settle(gateway)
        verdict = check(load.heard, exported(gateway, "locked-"), counted(emulator) - before)
        assert verdict.violations == ()
        everything = [Heard("to make the file", 200, is_complete=True), *load.heard]
        assert check(everything, exported(gateway), None, costs(gateway)).violations == ()


@contextmanager
def full_directory(gateway: Gateway) -> Iterator[None]:
    """The journal is at its limit, because nothing is carried on from it."""
    with locked(gateway):
        yield


@contextmanager
def full_disk(gateway: Gateway) -> Iterator[None]:
    """No file of the worker may grow."""
    worker = gateway.worker
    _, hard = worker.rlimit(resource.RLIMIT_FSIZE)
    worker.rlimit(resource.RLIMIT_FSIZE, (1, hard))
    try:
        yield
    finally:
        worker.rlimit(resource.RLIMIT_FSIZE, (hard, hard))


def asked(gateway: Gateway, request_id: str) -> Answer:
    body = {"model": "prompt", "parameters": {"prompt": LARGE}, "request_id": request_id}
    return gateway.ask(NATIVE, body)


@contextmanager
def with_journal(path: Path, emulator: Emulator, when_full: str) -> Iterator[Gateway]:
    records = {"content": "full", "journal_limit_bytes": 1 << 20, "when_full": when_full}
    with serving(path, document(records=records), environ=environ(emulator.url)) as gateway:
        yield gateway


def journal_health(gateway: Gateway) -> dict:
    return gateway.ask("/api/v1/health").json["components"]["journal"]


def test_a_full_journal_refuses_calls_before_any_work(emulator: Emulator, tmp_path: Path) -> None:
    with with_journal(tmp_path, emulator, "refuse") as gateway:
        for full in (full_disk, full_directory):
            served = refuses_while(gateway, emulator, full)
            eventually(lambda: asked(gateway, "after").status == 200, 30)
            settle(gateway)
            assert check(served, exported(gateway, f"{full.__name__}-")).violations == ()
            assert journal_health(gateway)["status"] == "ok"
        assert [row["status"] for row in exported(gateway, "after")] == ["ok", "ok"]
        assert journal_health(gateway)["backlog"]["set_aside"] == 0


def refuses_while(gateway: Gateway, emulator: Emulator, full: Full) -> list[Heard]:
    """The calls that were served before the journal was found full."""
    served: list[Heard] = []
    with full(gateway):
        while asked(gateway, request_id := f"{full.__name__}-{len(served)}").status == 200:
            served.append(Heard(request_id, 200, is_complete=True))
        before = counters(emulator, "ok")["attempts"]
        for _ in range(10):
            refused = asked(gateway, "refused")
            assert (refused.status, refused.json["error"]["type"]) == (503, "journal_full")
            assert "retry-after" in refused.headers
            assert refused.json["request_id"] == "refused"
        assert counters(emulator, "ok")["attempts"] == before
        assert journal_health(gateway)["status"] == "full"
        assert gateway.ask("/api/v1/health").json["status"] == "degraded"
    return served


def test_a_full_journal_serves_and_tells_where_told_to(emulator: Emulator, tmp_path: Path) -> None:
    with with_journal(tmp_path, emulator, "serve_and_alarm") as gateway:
        for full in (full_disk, full_directory):
            before = int(gateway.metric("dujiang_records_dropped_total"))
            with full(gateway):
                for n in range(12):
                    assert asked(gateway, f"{full.__name__}-{n}").status == 200
                total = int(gateway.metric("dujiang_records_dropped_total"))
                assert 0 < total - before <= 12
                assert (journal_health(gateway)["status"], journal_health(gateway)["dropped"]) == ("full", total)
                assert gateway.ask("/api/v1/health").json["status"] == "degraded"
            eventually(lambda: asked(gateway, "after") and journal_health(gateway)["status"] == "ok", 30)
            settle(gateway)
            assert len(exported(gateway, f"{full.__name__}-")) == 12 - (total - before)


def kept(data_dir: Path) -> list[Row]:
    """What is in the database of a server that has ended."""
    records = SqliteRecords(data_dir / RECORDS)
    try:
        return [row for page in records.export(parse_query([], int(time.time() * 1000)), Scope()) for row in page]
    finally:
        records.close()


def test_after_sigterm_every_answered_call_is_in_the_database(emulator: Emulator, tmp_path: Path) -> None:
    before = counted(emulator)
    with serving(tmp_path, document(), environ=environ(emulator.url)) as gateway:
        load, thread = loading(gateway.port, "term-", 7, 30)
        eventually(lambda: len(load.heard) > 150)
        gateway.process.send_signal(signal.SIGTERM)
        assert gateway.process.wait(30) == 0
        load.stop()
        thread.join()
    verdict = check(load.heard, kept(tmp_path), counted(emulator) - before)
    assert verdict.violations == ()
    assert verdict.acknowledged > 150


ENDLESS = {"prompt": "ok", "endless": "latency=60000", "trickling": "chunks=999;chunk_interval=50"}


def test_a_shutdown_ends_calls_and_their_records_say_so(emulator: Emulator, tmp_path: Path) -> None:
    models = {name: {"targets": [{"provider": "openai", "model": behaviour}]} for name, behaviour in ENDLESS.items()}
    questions = [
        Question(f"{model}-{path}", model, path, stream=model == "trickling")
        for model in ("endless", "trickling")
        for path in (NATIVE, OPENAI)
    ]
    heard: list[Heard] = []
    before = counted(emulator)
    arguments = ("--drain-s", "1")
    with serving(tmp_path, document(models=models), environ=environ(emulator.url), arguments=arguments) as gateway:
        asking = Thread(target=lambda: heard.extend(ask_all(gateway.port, questions)))
        asking.start()
        late = Question("late", "prompt").request
        with gateway.connect() as peer:
            peer.sendall(late[:-1])  # a call that begins before the shutdown, and whose last byte comes after it
            eventually(lambda: len(gateway.ask("/api/v1/records/in-flight").json["items"]) == 5)
            eventually(lambda: gateway.metric("dujiang_calls_in_flight") == 4)
            gateway.process.send_signal(signal.SIGTERM)
            eventually(lambda: not is_listening(gateway))
            peer.sendall(late[-1:])
            heard.append(Heard("late", int(peer.recv(4096).split(b" ", 2)[1]), is_complete=True))
        assert gateway.process.wait(30) == 0
        asking.join()
    rows = kept(tmp_path)
    verdict = check(heard, rows, counted(emulator) - before)
    assert verdict.violations == ()
    assert verdict.acknowledged == 5
    assert {row["request_id"]: (row["status"], row["error_type"]) for row in rows} == {
        **{f"endless-{path}": ("error", "shutting_down") for path in (NATIVE, OPENAI)},
        **{f"trickling-{path}": ("cut", "shutting_down") for path in (NATIVE, OPENAI)},
        "late": ("refused", "shutting_down"),
    }


def is_listening(gateway: Gateway) -> bool:
    try:
        gateway.connect().close()
    except ConnectionRefusedError:
        return False
    return True
