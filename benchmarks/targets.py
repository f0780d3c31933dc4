"""What is measured: the gateway on both its wires, nginx and the reference prototype, all in front of one upstream."""

import json
import os
import shutil
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import Protocol, Self

import msgspec

from benchmarks.load import Call
from benchmarks.processes import Server, ServerFailed, free_port
from dujiang.records.places import JOURNAL
from dujiang.records.segments import backlog

PROTOTYPE = "prototype"
WITHOUT_CONTENT = "dujiang, content none"
STREAM_EVENTS = 100
_ROOT = Path(__file__).parents[1]
_MODEL = "gpt-4o-mini"
_KEY = "dj-benchmark-0123456789abcdef"
_UPSTREAM_KEY = "sk-upstream"
_PROMPT = "You are a helpful assistant. What is the capital of France, and why is it there?"
_NGINX = """
daemon off; worker_processes 1; worker_rlimit_nofile 20000; pid {dir}/nginx.pid; error_log stderr error;
events {{ worker_connections 10000; }}
http {{
  access_log off; client_body_temp_path {dir}/body; proxy_temp_path {dir}/proxy; fastcgi_temp_path {dir}/fastcgi;
  uwsgi_temp_path {dir}/uwsgi; scgi_temp_path {dir}/scgi; keepalive_requests 100000000;
  upstream model {{ server 127.0.0.1:{upstream}; keepalive 2048; keepalive_requests 100000000; }}
  server {{
    listen 127.0.0.1:{port} backlog=4096;
    proxy_http_version 1.1; proxy_set_header Connection ""; proxy_buffering off;
    location / {{ proxy_pass http://model; }}
  }}
}}
"""


class Target(msgspec.Struct, frozen=True):
    """A server and the calls it is asked: for whole answers and for streams. `journal` is where their records wait."""

    name: str
    server: Server
    whole: Call
    stream: Call
    journal: Path | None = None

    def has_stored_all(self) -> bool:
        """Whether every call's record has left the journal."""
        return self.journal is None or backlog(self.journal).undrained_bytes == 0

    def check(self) -> None:
        """One call must be answered with 200 and some text, else `ServerFailed`: an error is never measured."""
        address = f"http://127.0.0.1:{self.whole.port}{self.whole.path}"
        headers = {"Content-Type": "application/json", "Authorization": f"Bearer {self.whole.key}"}
        request = urllib.request.Request(address, self.whole.body_file.read_bytes(), headers)
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                body = answer.read()
        except urllib.error.HTTPError as error:
            raise ServerFailed(f"{self.name}: {error.code} {error.read()[:500]!r}\n{self.server.log_tail()}") from error
        if len(body) < 100:
            raise ServerFailed(f"{self.name} answered only {body!r}")


Gateway = tuple[Server, int, Path]
"""A server of ours, its port and its journal."""


class Body(Protocol):
    """Makes the body of a call."""

    def __call__(self, *, is_streamed: bool) -> dict[str, object]: ...


class Yard:
    """Starts servers for one upstream, in a folder of their own, and stops them again."""

    def __init__(self, folder: Path, reference: Path, cores: tuple[int | None, int | None]) -> None:
        self._folder = folder
        self._reference = reference
        self._server_core, self._load_core = cores
        self._servers: list[Server] = []
        self.left_out: dict[str, str] = {}
        self.upstream_kind = "mock.c" if self._can_compile() else "emulator"
        folder.mkdir(parents=True, exist_ok=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for server in reversed(self._servers):
            server.stop()

    def start_upstream(self, latency_ms: int, event_ms: int = 0) -> int:
        """A model's service: whole answers after a latency, streams with an event every so often. Returns its port."""
        port = free_port()
        if self.upstream_kind == "emulator":
            command = [sys.executable, "-m", "dujiang.emulator", "--port", str(port)]
            self._start("upstream", command, port, self._load_core)
            pace = f";chunks={STREAM_EVENTS};chunk_interval={event_ms}" if event_ms else ""
            _set_behaviour(port, f"latency={latency_ms}{pace}")
            return port
        binary = self._folder / "mock"
        subprocess.run(["cc", "-O2", "-o", str(binary), str(self._reference / "mock.c")], check=True)
        self._start(
            "upstream",
            [str(binary), str(port), str(latency_ms), str(STREAM_EVENTS), str(event_ms)],
            port,
            self._load_core,
        )
        return port

    def start_targets(self, upstream: int, names: list[str]) -> list[Target]:
        """The targets asked for (all when `names` is empty); what cannot run here is named in `left_out`."""
        started: list[Target] = []
        makers = {
            PROTOTYPE: self._prototype,
            "nginx": self._nginx,
            "dujiang": self._dujiang,
            WITHOUT_CONTENT: self._dujiang_without_content,
        }
        for name, make in makers.items():
            if not names or name in names:
                started.extend(make(upstream))
        for target in started:
            target.check()
        return started

    def _dujiang(self, upstream: int) -> list[Target]:
        gateway = self._start_dujiang("dujiang", _document(upstream))
        return [
            self._target("dujiang", gateway, "/api/v1/chat/completions", _native),
            self._target("dujiang /v1", gateway, "/v1/chat/completions", _openai),
        ]

    def _dujiang_without_content(self, upstream: int) -> list[Target]:
        """The same, but its records do not keep what was said."""
        document = {**_document(upstream), "records": {"content": "none"}}
        gateway = self._start_dujiang("dujiang-without-content", document)
        return [self._target(WITHOUT_CONTENT, gateway, "/api/v1/chat/completions", _native)]

    def _target(self, name: str, gateway: Gateway, path: str, body: Body) -> Target:
        server, port, journal = gateway
        whole, stream = (self._call(port, path, body(is_streamed=streamed), _KEY) for streamed in (False, True))
        return Target(name, server, whole, stream, journal)

    def _start_dujiang(self, name: str, document: dict[str, object]) -> Gateway:
        port, file, data = free_port(), self._folder / f"{name}.yaml", self._folder / name
        file.write_text(json.dumps(document, indent=1))
        options = [f"--port={port}", "--workers=1", f"--config={file}", f"--data-dir={data}"]
        command = [sys.executable, "-m", "dujiang", "serve", "--host=127.0.0.1", *options]
        env = {"DUJIANG_ADMIN_KEY": _KEY, "DUJIANG_SECRET_KEY": "benchmark-" * 4}
        return self._start(name, command, port, self._server_core, env), port, data / JOURNAL

    def _nginx(self, upstream: int) -> list[Target]:
        nginx = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")
        if nginx is None:
            self.left_out["nginx"] = "not installed"
            return []
        port, settings = free_port(), self._folder / "nginx.conf"
        settings.write_text(_NGINX.format(dir=self._folder, upstream=upstream, port=port))
        server = self._start("nginx", [nginx, "-p", str(self._folder), "-c", str(settings)], port, self._server_core)
        whole, stream = (
            self._call(port, "/v1/chat/completions", _openai(is_streamed=s), _UPSTREAM_KEY) for s in (False, True)
        )
        return [Target("nginx", server, whole, stream)]

    def _prototype(self, upstream: int) -> list[Target]:
        source = self._reference / "proto" / "p3_asgi.py"
        if not source.exists():
            self.left_out[PROTOTYPE] = f"no {source}"
            return []
        port, temporary = free_port(), self._folder / "prototype"
        temporary.mkdir()
        options = ["--loop=uvloop", "--http=httptools", "--no-access-log", "--log-level=error", "--backlog=4096"]
        command = [sys.executable, "-m", "uvicorn", *options, "--host=127.0.0.1", f"--port={port}", "p3_asgi:app"]
        env = {"CLIENT": "raw", "UP": str(upstream), "TMPDIR": str(temporary), "PYTHONDONTWRITEBYTECODE": "1"}
        server = self._start(PROTOTYPE, command, port, self._server_core, env, source.parent)
        whole, stream = (self._call(port, "/v1/invoke", _native(is_streamed=s), "sk-test-7") for s in (False, True))
        return [Target(PROTOTYPE, server, whole, stream)]

    def _call(self, port: int, path: str, body: dict[str, object], key: str) -> Call:
        file = self._folder / f"body-{port}{path.replace('/', '-')}-{len(list(self._folder.glob('body-*')))}.json"
        file.write_text(json.dumps(body, ensure_ascii=False, separators=(",", ":")))
        return Call(port, path, file, key)

    def _start(
        self,
        name: str,
        command: list[str],
        port: int,
        core: int | None,
        env: dict[str, str] | None = None,
        cwd: Path = _ROOT,
    ) -> Server:
        server = Server(name, command, port, core=core, log_dir=self._folder, env=env or {}, cwd=cwd)
        server.start()
        self._servers.append(server)
        return server

    def _can_compile(self) -> bool:
        return shutil.which("cc") is not None and (self._reference / "mock.c").exists()


def default_reference() -> Path:
    """Where the reference prototype and the upstream in C are looked for: beside the checkout."""
    return Path(os.path.normpath(_ROOT / ".." / "shared" / "bench"))


def _document(upstream: int) -> dict[str, object]:
    """The configuration: one provider, one model, no cache, and limits that a load does not reach."""
    provider = {
        "kind": "openai",
        "base_url": f"http://127.0.0.1:{upstream}/v1",
        "allow_private_network": True,
        "credentials": [{"name": "main", "secret": _UPSTREAM_KEY}],
    }
    return {
        "providers": {"upstream": provider},
        "models": {_MODEL: {"targets": [{"provider": "upstream", "model": _MODEL}]}},
        "resilience": {"concurrency": {"limit": 10000, "adaptive": False, "queue": 10000, "max_wait_s": 30}},
        "limits": {"default": {"rpm": 100_000_000, "tpm": 1_000_000_000, "concurrency": 100_000}},
        "cache": {"exact": {"enabled": False}, "semantic": {"enabled": False}, "share_in_flight": False},
    }


def _native(*, is_streamed: bool) -> dict[str, object]:
    parameters = {"prompt": _PROMPT, "temperature": 0.2, "max_tokens": 128, **({"stream": True} if is_streamed else {})}
    return {"model": _MODEL, "parameters": parameters, "user_info": {"user_id": "u1"}}


def _openai(*, is_streamed: bool) -> dict[str, object]:
    system, question = _PROMPT.split(". ", 1)
    messages = [{"role": "system", "content": f"{system}."}, {"role": "user", "content": question}]
    body: dict[str, object] = {"model": _MODEL, "messages": messages, "temperature": 0.2, "max_tokens": 128}
    return {**body, "stream": True} if is_streamed else body


def _set_behaviour(emulator: int, behaviour: str) -> None:
    body = json.dumps({"model": _MODEL, "behaviour": behaviour}).encode()
    address = f"http://127.0.0.1:{emulator}/_emulator/behaviour"
    request = urllib.request.Request(address, body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=5) as answer:
        answer.read()
