"""A vendor that redirects is not followed, on any way to any kind of provider: the credential goes nowhere else."""

import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from gateway import ONE_ATTEMPT, Gateway, serving

DOCUMENT = (
    ONE_ATTEMPT
    + """
providers:
  openai: {kind: openai, base_url: "${VENDOR}/v1", allow_private_network: true,
           credentials: [{name: main, secret: sk-redirected}]}
  v1: {kind: ernie, base_url: "${VENDOR}", allow_private_network: true,
       credentials: [{name: main, secret: "AKak:SKsk"}]}
  v2: {kind: ernie, base_url: "${VENDOR}", allow_private_network: true,
       credentials: [{name: main, secret: "bce-v3/ALTAK-abc123/0123456789abcdef"}]}
models:
  openai: {targets: [{provider: openai, model: gpt-4}]}
  v1: {targets: [{provider: v1, model: ERNIE-4.0-8K}]}
  v2: {targets: [{provider: v2, model: ERNIE-4.0-8K}]}
"""
)


@dataclass
class Vendor:
    """Redirects requests under `redirects` to another server, with `status`; gives access tokens otherwise."""

    server: ThreadingHTTPServer
    location: str
    redirects: str = "/"
    status: int = 307
    paths: list[str] = field(default_factory=list)


@dataclass
class Elsewhere:
    """Where nobody should come."""

    server: ThreadingHTTPServer
    requests: list[str] = field(default_factory=list)


@pytest.fixture(scope="module")
def elsewhere() -> Iterator[Elsewhere]:
    class Handler(Quiet):
        def do_GET(self) -> None:
            elsewhere.requests.append(f"{self.path} {self.headers}")
            self.answer(200, b'{"access_token": "stolen", "expires_in": 1000}')

        def do_POST(self) -> None:
            self.do_GET()

    elsewhere = Elsewhere(ThreadingHTTPServer(("127.0.0.1", 0), Handler))
    yield from serve(elsewhere.server, elsewhere)


@pytest.fixture(scope="module")
def vendor(elsewhere: Elsewhere) -> Iterator[Vendor]:
    class Handler(Quiet):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            vendor.paths.append(self.path)
            if self.path.startswith(vendor.redirects):
                self.answer(vendor.status, b"{}", Location=vendor.location + self.path)
            else:
                self.answer(200, json.dumps({"access_token": "24.token", "expires_in": 10_000}).encode())

    location = f"http://127.0.0.1:{elsewhere.server.server_port}"
    vendor = Vendor(ThreadingHTTPServer(("127.0.0.1", 0), Handler), location)
    yield from serve(vendor.server, vendor)


class Quiet(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = 1 << 16

    def answer(self, status: int, body: bytes, **fields: str) -> None:
        self.send_response(status)
        for name, value in fields.items():
            self.send_header(name, value)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


def serve(server: ThreadingHTTPServer, what):
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield what
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture(scope="module")
def gateway(vendor: Vendor, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    environ = {"VENDOR": f"http://127.0.0.1:{vendor.server.server_port}"}
    with serving(tmp_path_factory.mktemp("redirects"), DOCUMENT, environ=environ) as gateway:
        yield gateway


@pytest.fixture(scope="module")
def proxied(vendor: Vendor, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """Every vendor is reached through `vendor` as a forwarding proxy."""
    environ = {
        "VENDOR": "http://proxied.example",
        "HTTP_PROXY": f"http://127.0.0.1:{vendor.server.server_port}",
        "NO_PROXY": "",
    }
    with serving(tmp_path_factory.mktemp("proxied"), DOCUMENT, environ=environ) as gateway:
        yield gateway


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(("model", "redirects"), [("openai", "/v1"), ("v1", "/oauth"), ("v1", "/rpc"), ("v2", "/v2")])
def test_a_redirect_is_an_error(
    gateway: Gateway, vendor: Vendor, elsewhere: Elsewhere, model: str, redirects: str, stream: bool, status: int
) -> None:
    vendor.redirects, vendor.status = redirects, status
    vendor.paths.clear()
    answer = gateway.chat(model, stream=stream)
    assert answer.status >= 400
    assert vendor.location not in answer.body.decode()
    assert any(path.startswith(redirects) for path in vendor.paths)
    assert elsewhere.requests == []


@pytest.mark.parametrize("model", ["openai", "v1", "v2"])
def test_a_redirect_by_a_proxy_is_an_error(proxied: Gateway, vendor: Vendor, elsewhere: Elsewhere, model: str) -> None:
    vendor.redirects, vendor.status = "http://proxied.example", 307
    vendor.paths.clear()
    assert proxied.chat(model).status >= 400
    assert vendor.paths != []
    assert elsewhere.requests == []
