"""A real server for tests: `dujiang serve` as a process of its own, and the emulator beside it."""

import json
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import psutil
import pytest

from dujiang.emulator.background import running
from dujiang.emulator.server import Emulator

ADMIN_KEY = "dj-Testing0Key1With2Enough3Characters"
START_S = 60.0

ONE_ATTEMPT = """
resilience:
  retry: {max_attempts: 1}
  breaker: {window: 100000, min_calls: 100000}
"""
"""What a call meets is what its caller gets, for tests of something else than resilience."""

MODELS = (
    ONE_ATTEMPT
    + """
providers:
  openai: {kind: openai, base_url: "${OPENAI_BASE_URL}", allow_private_network: true,
           credentials: [{name: main, secret: "${OPENAI_API_KEY}"}]}
  absent: {kind: openai, base_url: "http://127.0.0.1:1/v1", allow_private_network: true,
           credentials: [{name: main, secret: sk-nobody-listens}]}
  empty: {kind: openai, credentials: [{name: main, secret: "${NO_SUCH_KEY:-}"}]}
models:
  gpt-4: {version: "0613", targets: [{provider: openai, model: gpt-4-0613}]}
  lab-7b: {targets: [{provider: openai, model: lab-7b-chat}],
           resilience: {concurrency: {limit: 2000, adaptive: false}}}
  hasty: {targets: [{provider: openai, model: hasty}],
          resilience: {timeouts: {total_s: 0.6, first_token_s: 0.3, idle_s: 0.3}}}
  down: {targets: [{provider: absent, model: down}]}
  keyless: {targets: [{provider: empty, model: keyless}]}
aliases: {gpt-4-turbo: gpt-4}
routes: {default: {candidates: [gpt-4, lab-7b]}}
scenes:
  scene_1:
    versions:
      - {version: 1, system: "你是{{company}}的客服，用{{language}}简洁作答。",
         variables: {company: {default: 示例公司}, language: {default: 中文}}}
    labels: {production: 1}
roles:
  admin: {permissions: ["*"]}
  guest: {permissions: ["chat:call"], models: [lab-7b], limits: {max_tokens: 256}}
  watcher: {permissions: ["records:read"]}
"""
)


@dataclass
class Answer:
    """A response, read to its end."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def events(self) -> list[Any]:
        """The payloads of a stream, `[DONE]` as text."""
        found = [line[6:] for line in self.body.decode().split("\n\n") if line.startswith("data: ")]
        return [line if line == "[DONE]" else json.loads(line) for line in found]


@dataclass
class Gateway:
    """A running server."""

    url: str
    port: int
    process: psutil.Popen
    data_dir: Path

    @property
    def output(self) -> list[str]:
        """The lines that it has printed so far."""
        return (self.data_dir / "log").read_text("utf-8").splitlines()

    def ask(
        self,
        path: str,
        body: Any = None,
        *,
        method: str | None = None,
        key: str | None = ADMIN_KEY,
        headers: dict[str, str] | None = None,
        timeout_s: float = 30,
    ) -> Answer:
        """One request; a body that is not bytes is sent as JSON."""
        connection = HTTPConnection("127.0.0.1", self.port, timeout=timeout_s)
        try:
            fields = {"Content-Type": "application/json", **(headers or {})}
            if key is not None:
                fields.setdefault("Authorization", f"Bearer {key}")
            data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
            connection.request(method or ("GET" if body is None else "POST"), path, data, fields)
            with connection.getresponse() as response:
                return Answer(response.status, {k.lower(): v for k, v in response.getheaders()}, response.read())
        finally:
            connection.close()

    def chat(self, model: str = "gpt-4", prompt: str = "你好，世界", **parameters: Any) -> Answer:
        """The requirement's own request."""
        return self.ask("/api/v1/chat/completions", {"model": model, "parameters": {"prompt": prompt, **parameters}})

    def restore(self) -> None:
        """Have all targets taken for well, whatever earlier tests did to them."""
        assert self.ask("/api/v1/targets/restore", {}).status == 204

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=30)

    @property
    def worker(self) -> psutil.Process:
        """The process that serves."""
        return next(iter(self.workers))

    @property
    def workers(self) -> list[psutil.Process]:
        """All processes that serve."""
        return [child for child in self.process.children() if _is_worker(child)]

    def metric(self, name: str) -> float:
        """The sum of a metric's samples."""
        text = self.ask("/metrics").body.decode()
        return sum(float(line.rsplit(" ", 1)[1]) for line in text.splitlines() if re.match(rf"{name}[ {{]", line))


def _is_worker(process: psutil.Process) -> bool:
    try:
        return "dujiang.worker" in process.cmdline()
    except psutil.NoSuchProcess:  # or a zombie, which is one of these
        return False


@contextmanager
def serving(
    data_dir: Path, document: str | None, *, environ: dict[str, str] | None = None, arguments: tuple[str, ...] = ()
) -> Generator[Gateway]:
    """Start `dujiang serve` on a free port, and stop it at the end."""
    data_dir.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "dujiang", "serve", "--port", "0", "--data-dir", str(data_dir), *arguments]
    if document is not None:
        config = data_dir / "dujiang.yaml"
        config.write_text(document, "utf-8")
        command += ["--config", str(config)]
    env = {**os.environ, "DUJIANG_ADMIN_KEY": ADMIN_KEY, **(environ or {})}
    log = (data_dir / "log").open("wb")
    process = psutil.Popen(command, env=env, stdout=log, stderr=subprocess.STDOUT)
    try:
        url = _wait_for_url(process, data_dir / "log")
        port = int(url.rsplit(":", 1)[1])
        yield Gateway(url, port, process, data_dir)
    finally:
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(15)
            except psutil.TimeoutExpired:
                for child in process.children(recursive=True):
                    child.kill()
                process.kill()
                process.wait()
        log.close()


def _wait_for_url(process: psutil.Popen, log: Path) -> str:
    end = time.monotonic() + START_S
    while time.monotonic() < end:
        found = re.search(r"serves on (http://\S+)", log.read_text("utf-8"))
        if found:
            return found.group(1)
        if process.poll() is not None:
            break
        time.sleep(0.02)
    raise AssertionError("the server did not start:\n" + log.read_text("utf-8"))


@contextmanager
def behaving(emulator: Emulator, model: str, behaviour: str) -> Iterator[None]:
    """A behaviour of an emulated model for the length of a block."""
    _set_behaviour(emulator, model, behaviour)
    try:
        yield
    finally:
        _set_behaviour(emulator, model, "ok")


def _set_behaviour(emulator: Emulator, model: str, behaviour: str) -> None:
    host, port = emulator.url.removeprefix("http://").split(":")
    connection = HTTPConnection(host, int(port), timeout=10)
    body = json.dumps({"model": model, "behaviour": behaviour})
    connection.request("POST", "/_emulator/behaviour", body, {"Content-Type": "application/json"})
    response = connection.getresponse()
    assert response.status < 300, response.read()
    connection.close()


def counters(emulator: Emulator, model: str) -> dict[str, int]:
    """What the emulator has counted for a model."""
    host, port = emulator.url.removeprefix("http://").split(":")
    connection = HTTPConnection(host, int(port), timeout=10)
    connection.request("GET", "/_emulator/counters")
    found = json.loads(connection.getresponse().read())
    connection.close()
    return found["models"].get(
        model, {"attempts": 0, "completed": 0, "disconnected": 0, "open_streams": 0, "in_flight": 0}
    )


def eventually(is_so: Any, timeout_s: float = 10.0) -> None:
    """Wait until a condition holds."""
    end = time.monotonic() + timeout_s
    while not is_so():
        assert time.monotonic() < end, "it did not come to hold in time"
        time.sleep(0.02)


@pytest.fixture(scope="session")
def emulator() -> Iterator[Emulator]:
    with running() as emulator:
        yield emulator


@pytest.fixture
def restored(gateway: Gateway) -> Iterator[None]:
    """The common server afterwards as if no vendor had failed."""
    yield
    gateway.restore()


@pytest.fixture(scope="session")
def gateway(emulator: Emulator, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """One server for all tests that do not need one of their own."""
    environ = {"OPENAI_BASE_URL": f"{emulator.url}/v1", "OPENAI_API_KEY": "sk-emulated"}
    with serving(tmp_path_factory.mktemp("gateway"), MODELS, environ=environ) as gateway:
        yield gateway
