"""Whatever becomes of a call, it has one record, and the record says what became of it."""

import json
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from itertools import count
from typing import Any

import pytest
from callers import NATIVE, OPENAI, Question, ask_all, post
from gateway import Gateway, behaving, counters, eventually, serving
from ledger import Row, settle
from scripted import document, environ

from dujiang.emulator.server import Emulator
from dujiang.identity.keys import create_key
from dujiang.storage.database import connect, sqlite_url

_numbers = count()
WIRES = {NATIVE: "native", OPENAI: "openai"}
PATHS = pytest.mark.parametrize("path", [NATIVE, OPENAI])


@pytest.fixture(scope="module")
def house(emulator: Emulator, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    found = json.loads(document())
    throttled = [{"provider": "openai", "model": f"status=429;retry_after=1;chunks={n}"} for n in range(1, 5)]
    found["models"]["throttled"]["targets"] = throttled  # each call leaves one of them alone for a while
    with serving(tmp_path_factory.mktemp("house"), json.dumps(found), environ=environ(emulator.url)) as gateway:
        yield gateway


@pytest.fixture
def request_id() -> str:
    return f"outcome-{next(_numbers)}"


def body_of(path: str, request_id: str, model: str = "prompt", *, stream: bool = False) -> dict[str, Any]:
    if path == NATIVE:
        return {"model": model, "parameters": {"prompt": "你好", "stream": stream}, "request_id": request_id}
    messages = [{"role": "user", "content": "你好"}]
    return {"model": model, "messages": messages, "stream": stream, "request_id": request_id}


def rows(gateway: Gateway, **filters: str) -> list[Row]:
    asked = "&".join(f"{name}={value}" for name, value in filters.items())
    return gateway.ask(f"/api/v1/records?{asked}").json["items"]


def the_row(gateway: Gateway, request_id: str) -> Row:
    """The one record of a call, with all that is known of it."""
    settle(gateway)
    (row,) = rows(gateway, request_id=request_id)
    return gateway.ask(f"/api/v1/records/{row['id']}").json


@dataclass(frozen=True)
class Expected:
    model: str
    status: str
    http_status: int
    source: str | None
    error_type: str | None = None
    is_priced: bool = True


WHOLE = [
    Expected("prompt", "ok", 200, "provider"),
    Expected("silent", "ok", 200, "estimated"),
    Expected("tool", "ok", 200, "provider", is_priced=False),
    Expected("unwell", "error", 503, None, "upstream_unavailable", is_priced=False),
    Expected("rejected", "error", 400, None, "upstream_rejected", is_priced=False),
    Expected("throttled", "error", 429, None, "upstream_throttled", is_priced=False),
    Expected("hanging", "error", 504, None, "upstream_timeout", is_priced=False),
    Expected("garbled", "error", 502, None, "upstream_error", is_priced=False),
]
STREAMED = [
    *WHOLE[:7],
    Expected("cut", "cut", 200, "estimated", "upstream_stream_broken"),
]


CASES = [
    (path, expected, stream)
    for path in (NATIVE, OPENAI)
    for stream, table in ((False, WHOLE), (True, STREAMED))
    for expected in table
]


@pytest.fixture(scope="module")
def called(house: Gateway) -> Gateway:
    """Every case has been asked, all at once."""
    ask_all(
        house.port,
        [Question(name_of(path, expected, stream), expected.model, path, stream) for path, expected, stream in CASES],
    )
    settle(house)
    return house


def name_of(path: str, expected: Expected, stream: bool) -> str:
    return f"{WIRES[path]}-{expected.model}-{stream}"


@pytest.mark.parametrize(("path", "expected", "stream"), CASES, ids=[name_of(*case) for case in CASES])
def test_what_became_of_it(called: Gateway, path: str, expected: Expected, stream: bool) -> None:
    (row,) = rows(called, request_id=name_of(path, expected, stream))
    row = called.ask(f"/api/v1/records/{row['id']}").json
    assert (row["status"], row["http_status"]) == (expected.status, expected.http_status)
    assert row["error_type"] == expected.error_type
    assert (row["usage"]["source"] if row["usage"] else None) == expected.source
    assert (row["cost"] is not None) == expected.is_priced
    assert row["endpoint"] == ("chat" if path == NATIVE else "openai_chat")
    assert row["stream"] == stream
    assert row["model"] == row["model_requested"] == expected.model
    assert row["provider"] == "openai"
    assert row["credential"] == "main"
    (attempt,) = row["attempts_detail"]
    assert (attempt["why"], attempt["error_type"]) == ("first", expected.error_type)
    assert row["request_bytes"] > 50


@PATHS
@pytest.mark.parametrize(
    ("moment", "behaviour", "stream", "source"),
    [
        ("during a whole answer", "latency=60000", False, None),
        ("before the first token", "ttft=60000", True, None),
        ("mid-stream", "chunks=1000;chunk_interval=50", True, "estimated"),
    ],
)
def test_who_leaves_has_cancelled(
    gateway: Gateway,
    emulator: Emulator,
    request_id: str,
    path: str,
    moment: str,
    behaviour: str,
    stream: bool,
    source: str | None,
) -> None:
    with behaving(emulator, "lab-7b-chat", behaviour):
        before = counters(emulator, "lab-7b-chat")["in_flight"]
        with gateway.connect() as peer:
            peer.sendall(Question(request_id, "lab-7b", path, stream).request)
            eventually(lambda: counters(emulator, "lab-7b-chat")["in_flight"] == before + 1)
            if moment == "mid-stream":
                assert b"data: " in peer.recv(4096) + peer.recv(4096)
        row = the_row(gateway, request_id)
    assert (row["status"], row["http_status"], row["error_type"]) == ("cancelled", 499, None)
    assert (row["usage"]["source"] if row["usage"] else None) == source
    assert row["attempts"] == 1
    assert (row["first_token_ms"] is not None) == (moment == "mid-stream")


def forbidden(path: str, request_id: str) -> bytes:
    claim = '"user_info": {"user_role": "guest"}, "model": "prompt", '
    rest = '"parameters": {"prompt": "x"}' if path == NATIVE else '"messages": [{"role": "user", "content": "x"}]'
    return f'{{"request_id": "{request_id}", {claim}{rest}}}'.encode()


def wrong(path: str, request_id: str) -> bytes:
    return f'{{"request_id": "{request_id}", "model": 1}}'.encode()


REFUSED = [
    ("bad JSON", b"{", {}, 400, "invalid_request"),
    ("not UTF-8", b'{"model": "\xff"}', {}, 400, "invalid_request"),
    ("no model", b"{}", {}, 400, "invalid_request"),
    ("compressed", b"{}", {"Content-Encoding": "gzip"}, 400, "invalid_request"),
    ("not built", b"{}", {"Idempotency-Key": "k"}, 501, "not_implemented"),
    ("bad value", wrong, {}, 400, "invalid_request"),
    ("unknown model", "nobody", {}, 404, "not_found"),
    ("forbidden role", forbidden, {}, 403, "forbidden"),
]


@PATHS
def test_what_is_refused_is_recorded(house: Gateway, path: str) -> None:
    ids: list[str] = []
    for n, (_, body, headers, http_status, _) in enumerate(REFUSED):
        name = f"refused-{WIRES[path]}-{n}"
        sent = body_of(path, name, body) if isinstance(body, str) else body(path, name) if callable(body) else body
        answer = house.ask(path, sent, headers=headers)
        assert answer.status == http_status
        ids.append(answer.headers["x-request-id"])
    settle(house)
    for id, (why, body, _, http_status, error_type) in zip(ids, REFUSED, strict=True):
        # Who names no id of their own gets the record's.
        row = house.ask(f"/api/v1/records/{id}").json if isinstance(body, bytes) else rows(house, request_id=id)[0]
        assert (row["status"], row["http_status"], row["error_type"]) == ("refused", http_status, error_type), why
        assert (row["attempts"], row["usage"], row["cost"]) == (0, None, None), why


@PATHS
def test_a_body_too_large_is_recorded(house: Gateway, path: str) -> None:
    known = {row["id"] for row in all_rows(house)}
    request = post(path, b"").replace(b"Content-Length: 0", b"Content-Length: 99999999")
    with house.connect() as peer:
        peer.sendall(request)
        assert peer.recv(4096).startswith(b"HTTP/1.1 413 ")
    (row,) = [row for row in all_rows(house) if row["id"] not in known]
    assert (row["status"], row["http_status"], row["error_type"]) == ("refused", 413, "body_too_large")


@PATHS
def test_nobody_known_makes_no_record(house: Gateway, path: str) -> None:
    known = {row["id"] for row in all_rows(house)}
    for key in (None, "dj-NotAKey0That1Anybody2Holds"):
        assert house.ask(path, body_of(path, "unauthenticated"), key=key).status == 401
    assert {row["id"] for row in all_rows(house)} == known


@PATHS
def test_half_a_body_makes_a_record_when_its_caller_leaves(house: Gateway, path: str) -> None:
    known = {row["id"] for row in all_rows(house)}
    with house.connect() as peer:
        peer.sendall(post(path, b"{}").replace(b"Content-Length: 2", b"Content-Length: 2000"))
        eventually(lambda: in_flight(house))
        peer.shutdown(socket.SHUT_RDWR)
    (row,) = [row for row in all_rows(house) if row["id"] not in known]
    assert (row["status"], row["http_status"], row["attempts"]) == ("cancelled", 499, 0)


def test_the_callers_own_retries_are_kept(house: Gateway, request_id: str) -> None:
    house.ask(OPENAI, body_of(OPENAI, request_id), headers={"x-stainless-retry-count": "2"})
    assert the_row(house, request_id)["client_retries"] == 2


@PATHS
@pytest.mark.parametrize("stream", [False, True])
def test_what_was_said_is_masked(house: Gateway, request_id: str, path: str, stream: bool) -> None:
    body = body_of(path, request_id, stream=stream)
    said = "我的邮箱 zhang.san@example.com 电话 13812345678"
    (body["parameters"] if path == NATIVE else body["messages"][0])["prompt" if path == NATIVE else "content"] = said
    answer = house.ask(path, body)
    row = the_row(house, request_id)
    (message,) = row["content"]["messages"]
    assert "zhang.san" not in str(row)
    assert "13812345678" not in str(row)
    assert "我的邮箱" in str(message)
    assert row["content"]["result"]
    if path == NATIVE and not stream:
        assert row["content"]["result"] == answer.json["data"]["result"] or "[" in row["content"]["result"]


def test_where_nothing_is_to_be_kept_nothing_is(emulator: Emulator, tmp_path, request_id: str) -> None:
    text = document(records={"content": "none"})
    with serving(tmp_path, text, environ=environ(emulator.url)) as gateway:
        gateway.ask(NATIVE, body_of(NATIVE, request_id))
        row = the_row(gateway, request_id)
    assert row["status"] == "ok"
    assert row["content"] is None
    assert not list(tmp_path.rglob("*.content.db"))


def test_an_app_keeps_what_its_own_policy_says(emulator: Emulator, tmp_path, request_id: str) -> None:
    apps = {"open": {"content": "full"}, "closed": {"content": "none"}, "plain": {}}
    kept = {}
    with serving(tmp_path, document(apps=apps), environ=environ(emulator.url)) as gateway:
        for app in apps:
            body = body_of(NATIVE, f"{request_id}-{app}")
            body["parameters"]["prompt"] = "电话 13812345678"
            key = key_of(gateway, app)
            eventually(partial(_is_known, gateway, key))
            gateway.ask(NATIVE, body, key=key)
            kept[app] = the_row(gateway, body["request_id"])["content"]
    assert "13812345678" in str(kept["open"])
    assert kept["closed"] is None
    assert "[phone]" in str(kept["plain"])


def _is_known(gateway: Gateway, key: str) -> bool:
    return gateway.ask("/v1/models", key=key).status == 200


def key_of(gateway: Gateway, app: str) -> str:
    with connect(sqlite_url(gateway.data_dir)) as database:
        return create_key(database, app=app, roles=["admin"], name=app)[1]


def test_the_rate_of_exchange_is_frozen(emulator: Emulator, tmp_path, request_id: str) -> None:
    text = json.loads(document(money={"currency": "CNY", "rates": {"USD": "7.10"}}))
    text["models"]["prompt"]["price"]["currency"] = "USD"
    text["models"]["slow"]["price"] = {"currency": "EUR", "input_per_mtok": 1, "output_per_mtok": 1}
    with serving(tmp_path, json.dumps(text), environ=environ(emulator.url)) as gateway:
        gateway.ask(NATIVE, body_of(NATIVE, request_id))
        unconverted = gateway.ask(NATIVE, body_of(NATIVE, f"{request_id}-euro", "slow")).json
        row, euro = the_row(gateway, request_id), the_row(gateway, f"{request_id}-euro")
    assert (row["cost"]["currency"], row["exchange"]) == ("USD", {"currency": "CNY", "rate": "7.10"})
    assert (euro["cost"], euro["exchange"], unconverted["data"].get("cost")) == (None, None, None)


def in_flight(gateway: Gateway) -> list[dict[str, Any]]:
    return gateway.ask("/api/v1/records/in-flight").json["items"]


@PATHS
def test_a_running_call_is_shown_while_it_runs(
    gateway: Gateway, emulator: Emulator, request_id: str, path: str
) -> None:
    with behaving(emulator, "lab-7b-chat", "latency=60000"), gateway.connect() as peer:
        peer.sendall(Question(request_id, "lab-7b", path).request)
        eventually(lambda: [call for call in in_flight(gateway) if call["attempts"]])
        (call,) = in_flight(gateway)
        assert (call["request_id"], call["model"], call["provider"]) == (request_id, "lab-7b", "openai")
        assert call["waited_ms"] > 0
        assert not rows(gateway, request_id=request_id)
    eventually(lambda: not in_flight(gateway))
    assert the_row(gateway, request_id)["id"] == call["id"]


def all_rows(gateway: Gateway) -> list[Row]:
    settle(gateway)
    return rows(gateway, limit="200", sort="-started_at")
