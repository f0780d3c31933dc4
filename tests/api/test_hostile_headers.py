"""Whatever stands in a header field: a stranger stays a stranger, in the same words, and nothing is written."""

import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest
from gateway import ADMIN_KEY, Gateway
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

PATHS = ["/api/v1/chat/completions", "/v1/chat/completions", "/v1/models", "/api/v1/records", "/api/v1/keys"]
NASTY = [
    b"' OR '1'='1",
    b"'; DROP TABLE keys; --",
    b"%27%20OR%201=1",
    b"admin'--",
    b"\xff\xfe\xc0\x80",
    "密钥".encode(),
    b"dj-" + b"A" * 8000,
    b"{{7*7}} ${jndi:ldap://x} %s%n",
    b"../../etc/passwd",
    b"null",
    b"Bearer",
    b"\t",
]
FORGED = [
    b"X-Forwarded-For: 127.0.0.1",
    b"X-Real-IP: 127.0.0.1",
    b"X-User-Role: admin",
    b"X-App: admin",
    b"X-Original-URL: /health/live",
    b"X-HTTP-Method-Override: GET",
    b"X-Request-Id: '; DROP TABLE keys; --",
    b"Forwarded: for=127.0.0.1",
    b"Cookie: session=" + ADMIN_KEY.encode(),
    b"X-Api-Key: " + ADMIN_KEY.encode(),
    b"Api-Key: " + ADMIN_KEY.encode(),
    b"Proxy-Authorization: Bearer " + ADMIN_KEY.encode(),
]


class Watch:
    """Tells whether anybody wrote to the database."""

    def __init__(self, database: sqlite3.Connection) -> None:
        self._database = database
        self._before = self.now()

    def now(self) -> int:
        return self._database.execute("PRAGMA data_version").fetchone()[0]

    def assert_unchanged(self) -> None:
        assert self.now() == self._before


@pytest.fixture
def watch(gateway: Gateway) -> Iterator[Watch]:
    with closing(sqlite3.connect(gateway.data_dir / "dujiang.db", isolation_level=None)) as database:
        yield Watch(database)


def exchange(gateway: Gateway, path: str, fields: list[bytes], *, host: bytes = b"x") -> tuple[int, bytes]:
    """The status and the body of what a request on a connection of its own is answered."""
    method = b"POST" if path.endswith("completions") else b"GET"
    lines = [b"%b %b HTTP/1.1" % (method, path.encode()), b"Host: " + host, b"Connection: close", *fields]
    if method == b"POST":
        lines.append(b"Content-Length: 2")
    with gateway.connect() as peer:
        peer.sendall(b"\r\n".join([*lines, b"", b"{}" if method == b"POST" else b""]))
        answer = b""
        while piece := peer.recv(65536):
            answer += piece
    head, _, body = answer.partition(b"\r\n\r\n")
    return (int(head.split(b" ", 2)[1]) if head else 0), body


def wording(body: bytes) -> bytes:
    """The body without what differs from answer to answer."""
    return re.sub(rb'"(request_id|timestamp)":("[^"]*"|\d+)', b"", body)


@pytest.mark.parametrize("path", PATHS)
def test_every_wrong_key_is_answered_in_the_same_words(gateway: Gateway, watch: Watch, path: str) -> None:
    plain = b"Authorization: Bearer dj-nobody-has-this-key"
    status, body = exchange(gateway, path, [plain])
    assert status == 401
    for nasty in NASTY:
        for field in (b"Authorization: Bearer " + nasty, b"Authorization: " + nasty, b"authorization:Basic " + nasty):
            found = exchange(gateway, path, [field])
            assert (found[0], wording(found[1])) == (status, wording(body)), field
    watch.assert_unchanged()


@pytest.mark.parametrize("forged", FORGED)
def test_no_other_field_makes_anybody_somebody(gateway: Gateway, watch: Watch, forged: bytes) -> None:
    for path in PATHS:
        without = exchange(gateway, path, [])
        found = exchange(gateway, path, [forged])
        assert (found[0], wording(found[1])) == (401, wording(without[1]))
    watch.assert_unchanged()


@pytest.mark.parametrize("path", ["/v1/models", "/api/v1/records", "/api/v1/config"])
def test_two_keys_are_no_key(gateway: Gateway, watch: Watch, path: str) -> None:
    good = b"Authorization: Bearer " + ADMIN_KEY.encode()
    for fields in ([good, good], [good, b"Authorization: Bearer x"], [b"Authorization: Bearer x", good]):
        assert exchange(gateway, path, fields)[0] in (400, 401)
    watch.assert_unchanged()


HOSTS = [b"", b"a b", b"evil.example", b"127.0.0.1:99999", b"x@y", b"x/../..", b"'--", b"a" * 8000, b"[::1", b"\xff"]


@pytest.mark.parametrize("host", HOSTS)
def test_no_host_opens_anything(gateway: Gateway, watch: Watch, host: bytes) -> None:
    assert exchange(gateway, "/api/v1/records", [], host=host)[0] in (400, 401, 0)
    watch.assert_unchanged()


field_bytes = st.binary(max_size=200).map(lambda value: re.sub(rb"[\r\n\0]", b" ", value))


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    name=st.sampled_from([b"Authorization", b"X-Forwarded-For", b"X-Request-Id", b"X-Comment", b"If-Match", b"X-Any"]),
    value=field_bytes,
    path=st.sampled_from(PATHS),
)
def test_no_bytes_in_a_field_do_either(gateway: Gateway, watch: Watch, name: bytes, value: bytes, path: str) -> None:
    assert exchange(gateway, path, [name + b": " + value])[0] in (400, 401, 431)
    watch.assert_unchanged()


def test_the_server_is_well_afterwards(gateway: Gateway) -> None:
    answer: Any = gateway.ask("/api/v1/health", key=None).json
    assert answer["status"] in ("ok", "degraded")
    assert gateway.chat().status == 200
