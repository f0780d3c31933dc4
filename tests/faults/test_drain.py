"""SIGTERM: what runs may finish, what does not finish is told so, and the process ends with 0."""

import json
import os
import signal
import socket
import threading
import time
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
from gateway import ADMIN_KEY, MODELS, Gateway, behaving, counters, eventually, serving

from dujiang.emulator.server import Emulator

BODY = json.dumps({"model": "lab-7b", "parameters": {"prompt": "hi", "stream": True}}).encode()
STREAM = (
    f"POST /api/v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {ADMIN_KEY}\r\n"
    f"Content-Length: {len(BODY)}\r\n\r\n"
).encode() + BODY


def start(emulator: Emulator, tmp_path: Path, drain_s: float) -> AbstractContextManager[Gateway]:
    environ = {"OPENAI_BASE_URL": f"{emulator.url}/v1", "OPENAI_API_KEY": "sk-emulated"}
    return serving(tmp_path, MODELS, environ=environ, arguments=("--drain-s", str(drain_s)))


def read_all(peer: socket.socket, into: list[bytes]) -> None:
    received = b""
    while data := peer.recv(65536):
        received += data
    into.append(received)


def test_200_open_streams_each_end_with_an_event(emulator: Emulator, tmp_path: Path) -> None:
    with (
        start(emulator, tmp_path, 0.5) as gateway,
        behaving(emulator, "lab-7b-chat", "chunks=10000;chunk_interval=50"),
    ):
        peers = [gateway.connect() for _ in range(200)]
        for peer in peers:
            peer.sendall(STREAM)
        eventually(lambda: counters(emulator, "lab-7b-chat")["open_streams"] == 200, 30)
        answers: list[bytes] = []
        readers = [threading.Thread(target=read_all, args=(peer, answers)) for peer in peers]
        for reader in readers:
            reader.start()
        gateway.process.send_signal(signal.SIGTERM)
        assert gateway.process.wait(30) == 0
        for reader in readers:
            reader.join()
        for peer in peers:
            peer.close()
    assert len(answers) == 200
    for answer in answers:
        assert answer.endswith(b"0\r\n\r\n")
        last = [line for line in answer.split(b"\n") if line.startswith(b"data: ")][-1]
        event = json.loads(last[6:])
        assert event["code"] == 503
        assert event["error"]["type"] == "shutting_down"
    eventually(lambda: counters(emulator, "lab-7b-chat")["open_streams"] == 0)


def test_new_callers_are_refused_while_old_answers_finish(emulator: Emulator, tmp_path: Path) -> None:
    with start(emulator, tmp_path, 20) as gateway, behaving(emulator, "lab-7b-chat", "chunks=40;chunk_interval=100"):
        with gateway.connect() as peer:
            peer.sendall(STREAM)
            assert peer.recv(20)
            gateway.process.send_signal(signal.SIGTERM)
            eventually(lambda: _is_refused(gateway), 10)
            answers: list[bytes] = []
            read_all(peer, answers)
        assert gateway.process.wait(30) == 0
    assert b"data: [DONE]" in answers[0]


def test_what_can_finish_finishes(emulator: Emulator, tmp_path: Path) -> None:
    with start(emulator, tmp_path, 20) as gateway, behaving(emulator, "lab-7b-chat", "chunks=10;chunk_interval=100"):
        with gateway.connect() as peer:
            peer.sendall(STREAM)
            assert peer.recv(20)
            gateway.process.send_signal(signal.SIGTERM)
            answers: list[bytes] = []
            read_all(peer, answers)
        assert gateway.process.wait(30) == 0
    assert b"data: [DONE]" in answers[0]


def test_a_whole_answer_that_cannot_finish_is_an_error(emulator: Emulator, tmp_path: Path) -> None:
    with start(emulator, tmp_path, 0.3) as gateway, behaving(emulator, "lab-7b-chat", "latency=60000"):
        found: list[int] = []
        caller = threading.Thread(target=lambda: found.append(gateway.chat("lab-7b").status))
        caller.start()
        eventually(lambda: counters(emulator, "lab-7b-chat")["in_flight"] == 1)
        gateway.process.send_signal(signal.SIGTERM)
        caller.join()
        assert gateway.process.wait(30) == 0
    assert found == [503]


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_an_idle_server_stops_at_once(emulator: Emulator, tmp_path: Path, signum: int) -> None:
    with start(emulator, tmp_path, 30) as gateway, gateway.connect():
        gateway.process.send_signal(signum)
        assert gateway.process.wait(10) == 0
    assert not [line for line in (tmp_path / "log").read_text().splitlines() if "Traceback" in line]


def test_a_worker_that_dies_is_replaced(emulator: Emulator, tmp_path: Path) -> None:
    with start(emulator, tmp_path, 1) as gateway:
        gateway.worker.kill()
        eventually(lambda: _answers(gateway), 30)


def test_a_parent_that_dies_takes_its_worker_along(emulator: Emulator, tmp_path: Path) -> None:
    with start(emulator, tmp_path, 1) as gateway:
        worker = gateway.worker
        os.kill(gateway.process.pid, signal.SIGKILL)
        gateway.process.wait(10)
        worker.wait(15)


def test_a_second_server_on_the_same_data_is_refused(gateway: Gateway) -> None:
    with pytest.raises(AssertionError, match="Another server uses"), serving(gateway.data_dir, None):
        pass


def _is_refused(gateway: Gateway) -> bool:
    try:
        gateway.connect().close()
    except ConnectionRefusedError:
        return True
    return False


def _answers(gateway: Gateway) -> bool:
    try:
        return gateway.chat().status == 200
    except OSError:
        time.sleep(0.05)
        return False
