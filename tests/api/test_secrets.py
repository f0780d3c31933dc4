"""Canaries: what is secret goes in everywhere, and comes out nowhere."""

import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import msgspec
import psutil
import pytest
from apart import ASKED_ONCE, apart, service
from gateway import Answer, Gateway, eventually, serving
from on_disk import stored
from typer.testing import CliRunner

from dujiang.cli.main import app
from dujiang.emulator.openai.failures import FAILURES
from dujiang.emulator.server import Emulator

ADMIN_KEY = "dj-Canary0Admin1Key2Qz7Vx3Lm"
UPSTREAM_KEY = "sk-Canary0Upstream1Key2Wk8Rt5"
LITERAL_KEY = "sk-Canary0Literal1Key2Hb4Ny6"
PROXY_PASSWORD = "Canary0Proxy1Password2Gd9Ps1"
CALLERS_KEY = "dj-Canary0Caller1Wrong2Jf6Tc8"
REDIS_PASSWORD = "Canary0Redis1Password2Xe5Mu3"
ALERT_SECRET = "Canary0Alert1Signing2Zq1Ba7"
CANARIES = (ADMIN_KEY, UPSTREAM_KEY, LITERAL_KEY, PROXY_PASSWORD, CALLERS_KEY, REDIS_PASSWORD, ALERT_SECRET)
FRAGMENTS = tuple(canary.split("-")[-1][:14] for canary in CANARIES)
"""Enough of each to know it by, so that a cut or masked one counts, too."""

DOCUMENT = f"""
resilience: {json.dumps(ASKED_ONCE)}
providers:
  openai: {{kind: openai, base_url: "${{OPENAI_BASE_URL}}", allow_private_network: true,
            credentials: [{{name: main, secret: "${{OPENAI_API_KEY}}"}}]}}
  literal: {{kind: openai, base_url: "http://127.0.0.1:1/v1", allow_private_network: true,
             credentials: [{{name: main, secret: {LITERAL_KEY}}}]}}
  proxied: {{kind: openai, base_url: "https://proxied.example/v1",
             credentials: [{{name: main, secret: "${{OPENAI_API_KEY}}"}}]}}
models:
  gpt-4: {{targets: [{{provider: openai, model: gpt-4-0613}}]}}
  literal: {{targets: [{{provider: literal, model: m}}]}}
  proxied: {{targets: [{{provider: proxied, model: m}}]}}
  priced: {{price: {{currency: CNY, input_per_mtok: 100000, output_per_mtok: 100000}},
            targets: [{{provider: openai, model: gpt-4-0613}}]}}
apps:
  spender: {{limits: {{rpm: 100}}, budget: {{amount: 0.000001, currency: CNY, per: day, soft_ratio: 0.5}}}}
alerts: {{url: "http://127.0.0.1:1/alerts", secret: {ALERT_SECRET}, allow_private_network: true}}
"""


@dataclass
class EchoingVendor:
    """Answers with errors that hold the credential they were called with, in every place."""

    server: ThreadingHTTPServer
    status: int = 400
    shape: str = "nested"
    calls: int = 0
    seen: set[str] = field(default_factory=set)

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_port}/v1"

    def body(self, authorization: str) -> bytes:
        text = f"Incorrect API key provided: {authorization}"
        padded = "x" * 480 + authorization
        error = {"message": text, "type": authorization, "code": authorization, "param": authorization}
        return {
            "nested": json.dumps({"error": error}).encode(),
            "flat": json.dumps(error).encode(),
            "list": json.dumps([{"error": error}]).encode(),
            "text": json.dumps(text).encode(),
            "html": f"<html>{text}</html>".encode(),
            "cut": json.dumps({"error": {"message": padded}}).encode(),
            "cut html": padded.encode(),
            "event": b"data: " + json.dumps({"error": error}).encode() + b"\n\n",
            "event in the middle": b'data: {"choices":[{"delta":{"content":"a"}}]}\n\n'
            b"data: " + json.dumps({"error": error}).encode() + b"\n\n",
            "unreadable event": b"data: " + json.dumps(error).encode()[:-1] + b"\n\n",
            "finish": json.dumps({"choices": [{"message": {"content": ""}, "finish_reason": authorization}]}).encode(),
        }[self.shape]


SHAPES = [
    "nested",
    "flat",
    "list",
    "text",
    "html",
    "cut",
    "cut html",
    "event",
    "event in the middle",
    "unreadable event",
]
STATUSES = [200, 400, 401, 404, 429, 500]
FAULTS = [
    "reset_before_headers",
    "reset_after_headers",
    "garbage",
    "html_502",
    "empty_200",
    "json_string_401",
    "redirect_to_other_host",
    "deep_json",
    "cut_after=2",
    "error_in_stream",
    "bad_content_length",
]
WAYS = [(wire, stream) for stream in (False, True) for wire in ("native", "openai")]


def echoing(shape: str, status: int, wire: str, stream: bool) -> str:
    """The model that is asked once for this."""
    return f"echo-{SHAPES.index(shape)}-{status}-{wire}-{stream}"


def faulty(fault: str, wire: str, stream: bool) -> str:
    """The model that is asked once for this."""
    return f"fault-{FAULTS.index(fault)}-{wire}-{stream}"


def document() -> str:
    """`DOCUMENT` with a model for each refusal, for no credential is asked again after one."""
    echoes = {echoing(shape, status, *way): "echo" for shape in SHAPES for status in STATUSES for way in WAYS}
    errors = {f"{name}-{wire}": f"error={name}" for name in FAILURES for wire in ("native", "openai")}
    faults = {faulty(fault, *way): fault for fault in FAULTS for way in WAYS}
    found = msgspec.yaml.decode(DOCUMENT)
    for models, url in ((echoes, "${ECHO_BASE_URL}"), (errors | faults, "${OPENAI_BASE_URL}")):
        for section, entries in apart(models, service(url, secret="${OPENAI_API_KEY}")).items():
            found[section] |= entries
    for name in faults:
        found["models"][name]["resilience"] = {"retry": {"max_attempts": 2}}
    return json.dumps(found)


@pytest.fixture(scope="module")
def vendor() -> Iterator[EchoingVendor]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = 1 << 16

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            authorization = self.headers["Authorization"].removeprefix("Bearer ")
            vendor.calls += 1
            vendor.seen.add(authorization)
            body = vendor.body(authorization)
            self.send_response(vendor.status, authorization)
            kind = "text/event-stream" if "event" in vendor.shape else "application/json"
            self.send_header("Content-Type", kind)
            self.send_header("X-Key", authorization)
            self.send_header("Retry-After", authorization)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    vendor = EchoingVendor(ThreadingHTTPServer(("127.0.0.1", 0), Handler))
    vendor.server.daemon_threads = True
    thread = threading.Thread(target=vendor.server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield vendor
    vendor.server.shutdown()
    vendor.server.server_close()
    thread.join()


@dataclass
class Watched:
    """A server whose every answer is kept."""

    gateway: Gateway
    environ: dict[str, str]
    answers: list[Answer] = field(default_factory=list)
    made: list[str] = field(default_factory=list)
    """Parts of the secrets that the server made and told once."""

    def ask(self, path: str, body: Any = None, **options: Any) -> Answer:
        answer = self.gateway.ask(path, body, **{"key": ADMIN_KEY, **options})
        self.answers.append(answer)
        assert leaks(answer.body.decode("utf-8", "replace") + json.dumps(answer.headers)) == []
        return answer

    def chat(self, model: str, **parameters: Any) -> Answer:
        return self.ask("/api/v1/chat/completions", {"model": model, "parameters": {"prompt": "hi", **parameters}})

    def openai_chat(self, model: str, **fields: Any) -> Answer:
        body = {"model": model, "messages": [{"role": "user", "content": "hi"}], **fields}
        return self.ask("/v1/chat/completions", body)

    def chat_by(self, wire: str, model: str, **fields: Any) -> Answer:
        return self.chat(model, **fields) if wire == "native" else self.openai_chat(model, **fields)


def leaks(text: str) -> list[str]:
    return [fragment for fragment in FRAGMENTS if fragment in text]


@pytest.fixture(scope="module")
def watched(emulator: Emulator, vendor: EchoingVendor, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    environ = {
        "OPENAI_BASE_URL": f"{emulator.url}/v1",
        "ECHO_BASE_URL": vendor.base_url,
        "OPENAI_API_KEY": UPSTREAM_KEY,
        "DUJIANG_ADMIN_KEY": ADMIN_KEY,
        "HTTPS_PROXY": f"http://operator:{PROXY_PASSWORD}@127.0.0.1:1",
        "HTTP_PROXY": f"http://operator:{PROXY_PASSWORD}@127.0.0.1:1",
        "NO_PROXY": "127.0.0.1",
    }
    folder = tmp_path_factory.mktemp("secrets")
    with serving(folder, document(), environ=environ) as gateway:
        yield Watched(gateway, environ)


def test_good_calls(watched: Watched) -> None:
    for stream in (False, True):
        assert watched.chat("gpt-4", stream=stream).status == 200
        assert watched.openai_chat("gpt-4", stream=stream).status == 200


@pytest.mark.parametrize(
    "path", ["/api/v1/chat/completions", "/v1/chat/completions", "/v1/models", "/metrics", "/none"]
)
def test_a_key_that_is_none_is_not_repeated(watched: Watched, path: str) -> None:
    method = "POST" if "completions" in path else "GET"
    for value in (f"Bearer {CALLERS_KEY}", f"Basic {CALLERS_KEY}", CALLERS_KEY, f"Bearer {CALLERS_KEY * 100}"):
        watched.ask(
            path, b"{}" if method == "POST" else None, method=method, key=None, headers={"Authorization": value}
        )


def test_a_key_in_the_wrong_place_is_not_repeated(watched: Watched) -> None:
    for name in ("api_key", "headers", "extra_headers"):
        value = {"Authorization": CALLERS_KEY} if "headers" in name else CALLERS_KEY
        assert watched.openai_chat("gpt-4", **{name: value}).status == 400
        assert watched.chat("gpt-4", **{name: value}).status == 400
    assert watched.ask("/api/v1/chat/completions", CALLERS_KEY.encode()).status == 400
    assert watched.ask(f"/api/v1/health?api_key={CALLERS_KEY}").status == 200


@pytest.mark.parametrize("name", sorted(FAILURES))
def test_every_documented_error(watched: Watched, name: str) -> None:
    for answer in (watched.chat(f"{name}-native"), watched.openai_chat(f"{name}-openai", stream=True)):
        assert answer.status >= 400
        assert b"no_target" not in answer.body


@pytest.mark.parametrize("fault", FAULTS)
def test_faults(watched: Watched, fault: str) -> None:
    for wire, stream in WAYS:
        answer = watched.chat_by(wire, faulty(fault, wire, stream), stream=stream)
        assert b"no_target" not in answer.body


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("status", STATUSES)
def test_a_vendor_that_echoes_the_key(watched: Watched, vendor: EchoingVendor, shape: str, status: int) -> None:
    vendor.shape, vendor.status = shape, status
    before = vendor.calls
    for wire, stream in WAYS:
        assert b"error" in watched.chat_by(wire, echoing(shape, status, wire, stream), stream=stream).body
    assert vendor.calls == before + len(WAYS)
    assert vendor.seen == {UPSTREAM_KEY}


def test_a_service_that_nobody_runs_and_a_proxy_that_nobody_runs(watched: Watched) -> None:
    for model in ("literal", "proxied"):
        assert watched.chat(model).status == 503
        assert watched.openai_chat(model, stream=True).status == 503


def test_keys_and_users_and_what_they_spend(watched: Watched) -> None:
    """The secret of a key stands in the answer that makes it, and nowhere else."""
    made = watched.ask("/api/v1/keys", {"app": "spender", "roles": ["admin"], "name": "a till"})
    assert made.status == 201
    id, secret = made.json["id"], made.json["key"]
    turned = watched.ask(f"/api/v1/keys/{id}/rotate", {"overlap_s": 60})
    secrets = [text.removeprefix("dj-")[8:] for text in (secret, turned.json["key"])]
    body = {"model": "priced", "messages": [{"role": "user", "content": f"my key is {secret}"}]}
    assert watched.ask("/v1/chat/completions", {**body, "model": secret}, key=secret).status == 404
    told = [
        watched.ask("/v1/chat/completions", body, key=secret),
        watched.ask("/v1/chat/completions", body, key=turned.json["key"]),
        watched.ask(f"/api/v1/keys/{id}", method="PATCH", body={"name": "two tills", "roles": ["nobody"]}),
        watched.ask("/api/v1/users/spender/u", method="PATCH", body={"blocked": True}),
        *(watched.ask(path) for path in (f"/api/v1/keys/{id}", "/api/v1/keys", "/api/v1/config/audit", "/metrics")),
        *(watched.ask(path) for path in ("/api/v1/budgets", "/api/v1/health", "/api/v1/config", "/openapi.json")),
        watched.ask("/api/v1/me", key=secret),
        watched.ask(f"/api/v1/keys/{id}", method="DELETE"),
    ]
    assert {answer.status for answer in told} <= {200, 204, 401, 402, 404, 422, 503}
    eventually(lambda: "spent" in (watched.gateway.data_dir / "log").read_text("utf-8"))
    eventually(lambda: watched.ask("/api/v1/records?app=spender").json["items"] != [])
    told += [watched.ask(f"/api/v1/records/{item['id']}") for item in watched.ask("/api/v1/records").json["items"]]
    told.append(watched.ask("/api/v1/records/export?format=csv"))
    files = [
        content
        for path, content in stored(watched.gateway.data_dir)
        if path.parent.name != "journal"  # has what was said, until it is drained and turned over
    ]
    watched.made += secrets
    for part in secrets:
        assert [answer.body for answer in told if part.encode() in answer.body] == []
        assert not any(part.encode() in text for text in files)


def test_what_the_server_tells_about_itself(watched: Watched) -> None:
    for path in ("/api/v1/health", "/metrics", "/openapi.json", "/v1/models", "/docs"):
        assert watched.ask(path).status == 200


def test_the_log_of_a_worker_that_dies(watched: Watched) -> None:
    first = watched.gateway.worker.pid
    watched.gateway.worker.kill()

    def is_replaced() -> bool:
        try:
            return watched.gateway.worker.pid != first and watched.chat("gpt-4").status == 200
        except (OSError, StopIteration, psutil.Error):
            return False

    eventually(is_replaced, 30)


BROKEN = {
    "sound": ("", ""),
    "not YAML, at the secret": (f"secret: {LITERAL_KEY}", f"secret: [{LITERAL_KEY}"),
    "a tab at the secret": (f"secret: {LITERAL_KEY}", f"secret:\t{LITERAL_KEY}: x"),
    "a list for a secret": (f"secret: {LITERAL_KEY}", f"secret: [{LITERAL_KEY}]"),
    "an object for a secret": (f"secret: {LITERAL_KEY}", f"secret: {{x: {LITERAL_KEY}}}"),
    "a wrong name for it": (f"secret: {LITERAL_KEY}", f"secrets: {LITERAL_KEY}"),
    "a secret twice": (f"secret: {LITERAL_KEY}", f"secret: {LITERAL_KEY}, secret: {LITERAL_KEY}"),
    "a secret in an address": ("http://127.0.0.1:1/v1", f"http://user:{LITERAL_KEY}@127.0.0.1:1/v1"),
    "a secret in a query": ("http://127.0.0.1:1/v1", f"http://127.0.0.1:1/v1?key={LITERAL_KEY}"),
    "a variable that is not there": ("${OPENAI_API_KEY}", f"${{NOT_THERE:-{LITERAL_KEY}}}"),
    "half a variable": ("${OPENAI_API_KEY}", f"${{OPENAI_API_KEY{LITERAL_KEY}"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_check_shows_no_secret(watched: Watched, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Whatever is wrong with the document. The command itself, in this process."""
    for variable, value in watched.environ.items():
        monkeypatch.setenv(variable, value)
    document = tmp_path / "dujiang.yaml"
    document.write_text(DOCUMENT.replace(*BROKEN[name]), "utf-8")
    ran = CliRunner().invoke(app, ["check", str(document)])
    assert ran.output
    assert ran.exit_code in (0, 1)
    assert leaks(ran.output) == []


def test_nothing_is_left_in_any_file_of_the_server(watched: Watched) -> None:
    """The last of this file: the log, the database, and whatever else lies in the data directory."""
    files = [(path, content) for path, content in stored(watched.gateway.data_dir) if path.name != "dujiang.yaml"]
    assert {"log", "dujiang.db"} <= {path.name for path, _ in files}
    for path, content in files:
        text = content.decode("latin-1")
        assert leaks(text) == [], path.name
        assert not any(part in text for part in watched.made), path.name


def test_no_command_line_shows_a_secret(watched: Watched) -> None:
    process = psutil.Process(watched.gateway.process.pid)
    for each in (process, *process.children(recursive=True)):
        assert leaks(" ".join(each.cmdline())) == []


def test_shared_state_that_is_away_tells_no_password(emulator: Emulator, tmp_path: Path) -> None:
    environ = {
        "OPENAI_BASE_URL": f"{emulator.url}/v1",
        "ECHO_BASE_URL": emulator.url,
        "OPENAI_API_KEY": UPSTREAM_KEY,
        "DUJIANG_ADMIN_KEY": ADMIN_KEY,
        "DUJIANG_REDIS_URL": f"redis://operator:{REDIS_PASSWORD}@127.0.0.1:1/0",
    }
    with serving(tmp_path, DOCUMENT, environ=environ) as gateway:
        watched = Watched(gateway, environ)
        assert watched.chat("gpt-4").status == 200
        health = watched.ask("/api/v1/health").json
        assert (health["status"], health["components"]["store"] == "ok") == ("degraded", False)
        watched.ask("/metrics")
    for path, content in stored(tmp_path):
        if path.name != "dujiang.yaml":
            assert leaks(content.decode("latin-1")) == [], path.name


def test_canaries_would_be_found() -> None:
    assert all(leaks(f"x{canary}y") == [fragment] for canary, fragment in zip(CANARIES, FRAGMENTS, strict=True))
