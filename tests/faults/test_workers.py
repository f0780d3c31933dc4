"""Several workers behind one address: what dies alone, what is one answer for all, and what reaches all of them."""

import json
import signal
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from socket import socket
from threading import Thread

import psutil
import pytest
from callers import NATIVE, Heard, Question, ask_all, post
from gateway import ADMIN_KEY, Answer, Gateway, counters, eventually, serving
from ledger import check, exported, settle
from scripted import document, environ

from benchmarks.redis_server import RedisServer
from dujiang.emulator.server import Emulator
from dujiang.identity.keys import create_key, revoke_key
from dujiang.runtime import CONFIG
from dujiang.storage.database import connect, sqlite_url
from dujiang.storage.redis.news import NEWS

CONNECTIONS = 64
PATIENT = {
    name: {"targets": [{"provider": "openai", "model": behaviour}]}
    for name, behaviour in {"prompt": "ok", "slow": "latency=30", "endless": "latency=60000"}.items()
}


@contextmanager
def several(
    path: Path, emulator: Emulator, redis: RedisServer, count: int = 2, arguments: tuple[str, ...] = ()
) -> Iterator[Gateway]:
    variables = environ(emulator.url) | {"DUJIANG_REDIS_URL": redis.url}
    with serving(
        path, document(models=PATIENT), environ=variables, arguments=("--workers", str(count), *arguments)
    ) as gateway:
        assert len(gateway.workers) == count
        yield gateway


def served_by(gateway: Gateway) -> dict[int, int]:
    """The process that serves a connection, by the caller's port."""
    return {
        connection.raddr.port: worker.pid
        for worker in gateway.workers
        for connection in worker.net_connections("tcp")
        if connection.raddr and connection.laddr.port == gateway.port
    }


def connected(gateway: Gateway, stack: ExitStack, count: int = CONNECTIONS) -> list[socket]:
    """Connections that were each answered once."""
    peers = [stack.enter_context(gateway.connect()) for _ in range(count)]
    for peer in peers:
        assert ask_on(peer, "/health/live").status == 200
    return peers


def ask_on(peer: socket, path: str, key: str | None = None) -> Answer:
    """One request on a connection that stays."""
    head = f"GET {path} HTTP/1.1\r\nHost: x\r\n" + (f"Authorization: Bearer {key}\r\n" if key else "") + "\r\n"
    return send_on(peer, head.encode())


def send_on(peer: socket, request: bytes) -> Answer:
    peer.sendall(request)
    received = b""
    while b"\r\n\r\n" not in received:
        received += peer.recv(65536) or closed()
    head, _, body = received.partition(b"\r\n\r\n")
    length = int(head.lower().split(b"content-length: ", 1)[1].split(b"\r\n", 1)[0])
    while len(body) < length:
        body += peer.recv(65536) or closed()
    return Answer(int(head.split(b" ", 2)[1]), {}, body)


def closed() -> bytes:
    raise ConnectionError("closed")


# ---- who may have several, and how they share ----------------------------------------------------------------------


def test_several_workers_without_shared_state_are_refused(emulator: Emulator, tmp_path: Path) -> None:
    variables = environ(emulator.url) | {"DUJIANG_REDIS_URL": ""}
    with (
        pytest.raises(AssertionError, match="Several workers need shared state"),
        serving(tmp_path, document(), environ=variables, arguments=("--workers", "2")),
    ):
        pass


def test_an_address_of_shared_state_that_is_none_is_refused_and_not_repeated(tmp_path: Path) -> None:
    with (
        pytest.raises(AssertionError, match="The Redis URL is not valid") as refused,
        serving(tmp_path, None, environ={"DUJIANG_REDIS_URL": "http://canary:canary@x"}),
    ):
        pass
    assert "canary" not in str(refused.value)


def test_one_worker_may_share_its_state(emulator: Emulator, tmp_path: Path, valkey_server: RedisServer) -> None:
    with several(tmp_path, emulator, valkey_server, 1) as gateway:
        eventually(lambda: health(gateway)["store"] == "ok")
        assert gateway.chat("prompt").status == 200


@pytest.mark.parametrize("count", [2, 4])
def test_no_worker_starves(emulator: Emulator, tmp_path: Path, valkey_server: RedisServer, count: int) -> None:
    """By chance alone one of four has fewer than 3 connections of 64 once in 100,000 times."""
    with several(tmp_path, emulator, valkey_server, count) as gateway, ExitStack() as stack:
        peers = connected(gateway, stack)
        found = Counter(served_by(gateway)[peer.getsockname()[1]] for peer in peers)
        assert set(found) == {worker.pid for worker in gateway.workers}
        assert min(found.values()) >= 3, found


def test_another_server_cannot_slip_in_at_the_same_address(
    emulator: Emulator, tmp_path: Path, valkey_server: RedisServer
) -> None:
    with several(tmp_path / "one", emulator, valkey_server) as gateway:
        arguments = ("--workers", "2", "--port", str(gateway.port))
        variables = {"DUJIANG_REDIS_URL": valkey_server.url}
        with (
            pytest.raises(AssertionError, match="Cannot listen on"),
            serving(tmp_path / "other", None, environ=variables, arguments=arguments),
        ):
            pass


# ---- one dies --------------------------------------------------------------------------------------------------------


@dataclass
class Caller:
    """Asks one call after another on one connection until told to stop, and writes down what became of each."""

    peer: socket
    name: str
    heard: list[Heard] = field(default_factory=list)
    is_over: bool = False

    def run(self) -> None:
        while not self.is_over and (not self.heard or self.heard[-1].is_complete):
            request_id = f"{self.name}-{len(self.heard)}"
            body = {"model": "slow", "parameters": {"prompt": "x"}, "request_id": request_id}
            status = None
            with suppress(OSError):
                status = send_on(self.peer, post(NATIVE, json.dumps(body).encode())).status
            self.heard.append(Heard(request_id, status, is_complete=status is not None))


def test_a_worker_that_is_killed_takes_nobody_along(
    emulator: Emulator, tmp_path: Path, valkey_server: RedisServer
) -> None:
    with several(tmp_path, emulator, valkey_server) as gateway, ExitStack() as stack:
        peers = connected(gateway, stack, 16)
        victim, survivor = gateway.workers
        worker_of = served_by(gateway)
        callers = [Caller(peer, f"caller-{number}") for number, peer in enumerate(peers)]
        threads = [Thread(target=caller.run) for caller in callers]
        for thread in threads:
            thread.start()
        eventually(lambda: all(len(caller.heard) > 5 for caller in callers))
        victim.kill()
        eventually(lambda: len({each.pid for each in gateway.workers} - {victim.pid}) == 2, 30)
        eventually(lambda: gateway.metric("dujiang_workers_silent") == 0, 30)
        for caller in callers:
            caller.is_over = True
        for thread in threads:
            thread.join()
        of_survivor = [each for each in callers if worker_of[each.peer.getsockname()[1]] == survivor.pid]
        assert of_survivor
        assert all(heard.status == 200 for caller in of_survivor for heard in caller.heard)
        assert survivor.is_running()
        settle(gateway)
        heard = [each for caller in callers for each in caller.heard]
        assert check(heard, exported(gateway, "caller-")).violations == ()


# ---- one answer for all --------------------------------------------------------------------------------------------


def health(gateway: Gateway) -> dict:
    return gateway.ask("/api/v1/health").json["components"]


def test_the_metrics_count_all_calls_whoever_is_asked(
    emulator: Emulator, tmp_path: Path, valkey_server: RedisServer
) -> None:
    with several(tmp_path, emulator, valkey_server) as gateway, ExitStack() as stack:
        questions = [Question(f"q-{n}", "prompt") for n in range(40)]
        assert {heard.status for heard in ask_all(gateway.port, questions)} == {200}
        settle(gateway)
        for peer in connected(gateway, stack, 16):  # of both workers
            assert _sum(gateway, peer, "dujiang_calls_total") == 40
            assert _sum(gateway, peer, "dujiang_call_duration_seconds_count") == 40
            assert _sum(gateway, peer, "dujiang_records_appended_total") == 40
            assert _sum(gateway, peer, "dujiang_config_revision") == 1
            assert _sum(gateway, peer, "dujiang_workers_silent") == 0
        assert health(gateway)["journal"]["appended"] == 40
        assert health(gateway)["workers"] == {"count": 2, "silent": 0}


def test_what_a_killed_worker_had_counted_is_not_lost(
    emulator: Emulator, tmp_path: Path, valkey_server: RedisServer
) -> None:
    with several(tmp_path, emulator, valkey_server) as gateway:
        ask_all(gateway.port, [Question(f"q-{n}", "prompt") for n in range(40)])
        eventually(lambda: gateway.metric("dujiang_calls_total") == 40)
        for worker in gateway.workers:
            worker.kill()
            worker.wait(10)
            eventually(lambda: gateway.metric("dujiang_workers_silent") == 0, 30)
        assert gateway.metric("dujiang_calls_total") == 40


def test_calls_of_both_workers_are_in_flight(emulator: Emulator, tmp_path: Path, valkey_server: RedisServer) -> None:
    with several(tmp_path, emulator, valkey_server, arguments=("--drain-s", "1")) as gateway, ExitStack() as stack:
        peers = connected(gateway, stack, 16)
        assert len({*served_by(gateway).values()}) == 2
        asking = {
            f"waiting-{n}": {"model": "endless", "parameters": {"prompt": "x"}, "request_id": f"waiting-{n}"}
            for n in range(len(peers))
        }
        for peer, body in zip(peers, asking.values(), strict=True):
            peer.sendall(post(NATIVE, json.dumps(body).encode()))
        eventually(lambda: counters(emulator, "latency=60000")["in_flight"] == 16)
        listed = gateway.ask("/api/v1/records/in-flight").json
        assert {call["request_id"] for call in listed["items"]} == set(asking)
        waited = [call["waited_ms"] for call in listed["items"]]
        assert waited == sorted(waited, reverse=True)
        assert listed["silent_workers"] == 0
        assert gateway.metric("dujiang_calls_in_flight") == 16


def test_a_frozen_worker_is_left_out_and_that_is_said(
    emulator: Emulator, tmp_path: Path, valkey_server: RedisServer
) -> None:
    with several(tmp_path, emulator, valkey_server) as gateway, ExitStack() as stack:
        ask_all(gateway.port, [Question(f"q-{n}", "prompt") for n in range(40)])
        eventually(lambda: gateway.metric("dujiang_calls_total") == 40)
        peers, worker_of = connected(gateway, stack, 16), served_by(gateway)
        frozen, awake = gateway.workers
        peer = next(each for each in peers if worker_of[each.getsockname()[1]] == awake.pid)
        frozen.suspend()
        try:
            assert _sum(gateway, peer, "dujiang_workers_silent") == 1
            assert _sum(gateway, peer, "dujiang_calls_total") == 40  # of the other, what was heard last
            listed = _asked(peer, "/api/v1/records/in-flight").json
            assert listed["silent_workers"] == 1
            assert _asked(peer, "/api/v1/health").json["status"] == "degraded"
        finally:
            frozen.resume()
        eventually(lambda: _sum(gateway, peer, "dujiang_workers_silent") == 0)
        eventually(lambda: _asked(peer, "/api/v1/health").json["status"] == "ok")


# ---- what reaches all ------------------------------------------------------------------------------------------------


def test_a_key_counts_and_is_revoked_at_all_workers(
    emulator: Emulator, tmp_path: Path, valkey_server: RedisServer
) -> None:
    with several(tmp_path, emulator, valkey_server) as gateway, ExitStack() as stack:
        peers = connected(gateway, stack, 16)
        with connect(sqlite_url(tmp_path)) as database:
            key_id, secret = create_key(database, app="shop", roles=["guest"])
            eventually(lambda: _statuses(peers, secret) == {200})
            revoke_key(database, key_id)
        eventually(lambda: _statuses(peers, secret) == {401})


def test_a_revision_is_at_work_in_all_workers(emulator: Emulator, tmp_path: Path, valkey_server: RedisServer) -> None:
    with several(tmp_path, emulator, valkey_server) as gateway, ExitStack() as stack:
        peers = connected(gateway, stack, 16)
        patch = {"aliases": {"news": "prompt"}}
        with closing(valkey_server.client()) as client, closing(client.pubsub()) as outside:
            outside.subscribe(f"{NEWS}{CONFIG}")
            assert gateway.ask("/api/v1/config", patch, method="PATCH", headers={"If-Match": '"1"'}).status == 200
            eventually(lambda: (outside.get_message() or {"type": None})["type"] == "message")
        eventually(lambda: gateway.metric("dujiang_config_revision") == 2)
        for peer in peers:
            body = {"model": "news", "parameters": {"prompt": "x"}}
            assert send_on(peer, post(NATIVE, json.dumps(body).encode())).status == 200


# ---- the end ---------------------------------------------------------------------------------------------------------


def test_sigterm_drains_all_at_once(emulator: Emulator, tmp_path: Path, valkey_server: RedisServer) -> None:
    with several(tmp_path, emulator, valkey_server, arguments=("--drain-s", "1")) as gateway, ExitStack() as stack:
        peers = connected(gateway, stack, 16)
        workers = gateway.workers
        for number, peer in enumerate(peers):
            body = {"model": "endless", "parameters": {"prompt": "x"}, "request_id": f"ended-{number}"}
            peer.sendall(post(NATIVE, json.dumps(body).encode()))
        eventually(lambda: gateway.metric("dujiang_calls_in_flight") == 16)
        gateway.process.send_signal(signal.SIGTERM)
        answers = [_read(peer) for peer in peers]
        assert gateway.process.wait(30) == 0
    assert [b"503" in answer and b"shutting_down" in answer for answer in answers] == [True] * 16
    assert not [worker for worker in workers if worker.is_running()]
    assert "Traceback" not in (tmp_path / "log").read_text()


def test_a_parent_that_dies_takes_all_workers_along(
    emulator: Emulator, tmp_path: Path, valkey_server: RedisServer
) -> None:
    with several(tmp_path, emulator, valkey_server, arguments=("--drain-s", "1")) as gateway:
        workers = gateway.workers
        gateway.process.send_signal(signal.SIGKILL)
        gateway.process.wait(10)
        gone, alive = psutil.wait_procs(workers, 20)
    assert (len(gone), alive) == (2, [])


def _read(peer: socket) -> bytes:
    with closing(peer):
        received = b""
        while data := peer.recv(65536):
            received += data
        return received


def _asked(peer: socket, path: str) -> Answer:
    return ask_on(peer, path, ADMIN_KEY)


def _sum(gateway: Gateway, peer: socket, name: str) -> float:
    lines = _asked(peer, "/metrics").body.decode().splitlines()
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.partition("{")[0].partition(" ")[0] == name)


def _statuses(peers: list[socket], key: str) -> set[int]:
    return {ask_on(peer, "/v1/models", key).status for peer in peers}
