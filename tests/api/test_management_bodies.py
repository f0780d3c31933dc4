"""No route of management takes in more than the limit of bodies, declared or not."""

import socket
from collections.abc import Iterator

import pytest
from gateway import ADMIN_KEY, MODELS, Gateway, serving

LIMIT_BYTES = 100_000
ROUTES = [
    ("POST", "/api/v1/routing/explain"),
    ("POST", "/api/v1/targets/restore"),
    ("POST", "/api/v1/config/validate"),
    ("PUT", "/api/v1/config"),
    ("POST", "/api/v1/scenes/import"),
    ("POST", "/api/v1/keys"),
]


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    environ = {"OPENAI_BASE_URL": "http://127.0.0.1:1/v1", "OPENAI_API_KEY": "sk-emulated"}
    arguments = ("--body-limit-bytes", str(LIMIT_BYTES))
    with serving(tmp_path_factory.mktemp("bodies"), MODELS, environ=environ, arguments=arguments) as gateway:
        yield gateway


def told(house: Gateway, method: str, path: str, length: str, body: Iterator[bytes]) -> bytes:
    """The status line that a caller is told, who sends until it is told something or has no more to send."""
    fields = ("Host: x", f"Authorization: Bearer {ADMIN_KEY}", 'If-Match: "1"', length)
    head = "\r\n".join((f"{method} {path} HTTP/1.1", *fields, "", ""))
    with socket.create_connection(("127.0.0.1", house.port), timeout=20) as peer:
        peer.sendall(head.encode())
        try:
            for part in body:
                peer.sendall(part)
        except OSError:
            pass  # it was told, and the rest is not wanted
        return peer.recv(100).split(b"\r\n", 1)[0]


@pytest.mark.parametrize(("method", "path"), ROUTES)
def test_a_declared_length_is_refused_before_a_byte_comes(house: Gateway, method: str, path: str) -> None:
    assert b" 413 " in told(house, method, path, f"Content-Length: {LIMIT_BYTES + 1}", iter(()))


@pytest.mark.parametrize(("method", "path"), ROUTES)
def test_what_comes_without_a_length_is_refused_at_the_limit(house: Gateway, method: str, path: str) -> None:
    before = house.worker.memory_info().rss
    chunk = b"10000\r\n" + b"0" * 0x10000 + b"\r\n"
    assert b" 413 " in told(house, method, path, "Transfer-Encoding: chunked", iter([chunk] * 3))
    assert house.worker.memory_info().rss - before < 32 * 1024 * 1024


def test_a_body_at_the_limit_is_read(house: Gateway) -> None:
    body = b'{"x": "' + b"0" * (LIMIT_BYTES - 9) + b'"}'
    assert len(body) == LIMIT_BYTES
    assert house.ask("/api/v1/targets/restore", body).status == 422
