"""Rates and places, as callers meet them: by curl and by the official SDK."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from http.client import HTTPConnection

import openai
import pytest
from callers import post
from configured import patch
from gateway import ONE_ATTEMPT, Answer, Gateway, behaving, eventually, serving

from dujiang.emulator.server import Emulator
from dujiang.identity.keys import create_key
from dujiang.storage.database import connect, sqlite_url

DOCUMENT = (
    ONE_ATTEMPT
    + """
providers:
  openai: {kind: openai, base_url: "${OPENAI_BASE_URL}", allow_private_network: true,
           credentials: [{name: main, secret: "${OPENAI_API_KEY}"}]}
models:
  m: {targets: [{provider: openai, model: gpt-4-0613}]}
  slow: {targets: [{provider: openai, model: slow}]}
apps:
  rated: {limits: {rpm: 4}}
  counted: {limits: {tpm: 1000}}
  placed: {limits: {concurrency: 2}}
  open: {}
roles:
  admin: {permissions: ["*"]}
  user: {permissions: ["chat:call"], limits: {rpm: 3}}
  free: {permissions: ["chat:call"]}
"""
)


@pytest.fixture(scope="module")
def server(emulator: Emulator, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    environ = {"OPENAI_BASE_URL": f"{emulator.url}/v1", "OPENAI_API_KEY": "sk-emulated"}
    with serving(tmp_path_factory.mktemp("limits"), DOCUMENT, environ=environ) as server:
        yield server


def new_key(server: Gateway, app: str, role: str = "free") -> str:
    with connect(sqlite_url(server.data_dir)) as database:
        _, secret = create_key(database, app=app, roles=[role])
    eventually(lambda: server.ask("/v1/models", key=secret).status != 401)
    return secret


def chat(server: Gateway, key: str, *, model: str = "m", user: str | None = None, **parameters: object) -> Answer:
    body: dict[str, object] = {"model": model, "parameters": {"prompt": "hi", **parameters}}
    if user is not None:
        body["user_info"] = {"user_id": user}
    return server.ask("/api/v1/chat/completions", body, key=key)


def test_a_rate_is_told_with_every_answer_and_its_end_says_when_to_try_again(server: Gateway) -> None:
    key = new_key(server, "rated")
    for left in (3, 2, 1, 0):
        answer = chat(server, key)
        assert answer.status == 200
        assert answer.headers["x-ratelimit-limit-requests"] == "4"
        assert answer.headers["x-ratelimit-remaining-requests"] == str(left)
        assert answer.headers["x-ratelimit-reset-requests"].endswith("s")
    refused = chat(server, key)
    assert refused.status == 429
    error = refused.json["error"]
    assert (error["type"], error["reason"]) == ("limit_exceeded", "rate")
    assert error["limit"] == {"name": "requests", "subject": error["limit"]["subject"], "limit": 4, "remaining": 0}
    assert 1 <= int(refused.headers["retry-after"]) <= 15
    assert refused.headers["x-ratelimit-remaining-requests"] == "0"
    assert chat(server, new_key(server, "open")).status == 200


def test_all_keys_of_an_app_share_its_counter(server: Gateway) -> None:
    patch(server, {"apps": {"shared": {"limits": {"rpm": 3}}}})
    one, other = new_key(server, "shared"), new_key(server, "shared")
    assert [chat(server, key).status for key in (one, other, one, other, one)] == [200, 200, 200, 429, 429]


def test_each_user_of_a_role_has_a_counter(server: Gateway) -> None:
    key = new_key(server, "open", "user")
    assert [chat(server, key, user="one").status for _ in range(4)] == [200, 200, 200, 429]
    assert chat(server, key, user="two").status == 200
    assert [chat(server, key).status for _ in range(4)] == [200, 200, 200, 429]


def test_the_sdk_sees_its_own_error_and_the_record_a_refusal(server: Gateway) -> None:
    key = new_key(server, "open", "user")
    client = openai.OpenAI(base_url=f"{server.url}/v1", api_key=key, max_retries=0)

    def ask() -> None:
        client.chat.completions.create(model="m", messages=[{"role": "user", "content": "hi"}])

    for _ in range(3):
        ask()
    with pytest.raises(openai.RateLimitError) as refused:
        ask()
    assert refused.value.code == "rate_limit_exceeded"
    assert refused.value.response.headers["retry-after"]
    eventually(lambda: any(item["http_status"] == 429 for item in refusals(server)))
    assert {item["status"] for item in refusals(server)} == {"refused"}


def refusals(server: Gateway) -> list[dict[str, object]]:
    return [item for item in server.ask("/api/v1/records?status=refused").json["items"] if item["http_status"] == 429]


def test_tokens_are_counted_as_the_vendor_counted_them(server: Gateway, emulator: Emulator) -> None:
    key = new_key(server, "counted")
    with behaving(emulator, "gpt-4-0613", "tokens=300/300"):
        first = chat(server, key)
        assert (first.status, first.headers["x-ratelimit-limit-tokens"]) == (200, "1000")
        assert chat(server, key, stream=True).status == 200  # 1,200 are used now
        refused = chat(server, key)
    assert (refused.status, refused.json["error"]["reason"]) == (429, "tokens")
    assert 10 <= int(refused.headers["retry-after"]) <= 15


def test_places_are_free_again_at_the_true_end_of_every_call(server: Gateway, emulator: Emulator) -> None:
    key = new_key(server, "placed")
    with behaving(emulator, "slow", "latency=600"), ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(lambda _: chat(server, key, model="slow"), range(6)))
    assert sorted(answer.status for answer in answers) == [200, 200, 429, 429, 429, 429]
    assert {answer.json["error"]["reason"] for answer in answers if answer.status == 429} == {"concurrency"}
    for behaviour in ("status=500", "cut_after=1", "ok"):
        with behaving(emulator, "slow", behaviour):
            for _ in range(3):
                assert chat(server, key, model="slow", stream=True).status != 429


def test_callers_who_leave_leave_their_places(server: Gateway, emulator: Emulator) -> None:
    key = new_key(server, "placed")
    request = post(
        "/api/v1/chat/completions",
        b'{"model":"slow","parameters":{"prompt":"hi","stream":true}}',
        key=key,
        fields=["Content-Type: application/json"],
    )

    def leave(n: int) -> None:
        with server.connect() as caller:
            caller.sendall(request)
            if n % 2:
                caller.recv(10)

    with behaving(emulator, "slow", "ttft=20;chunks=50;chunk_interval=20"):
        for n in range(20):
            leave(n)
            eventually(lambda: server.ask("/api/v1/records/in-flight").json["items"] == [])
        first, second = HTTPConnection("127.0.0.1", server.port), HTTPConnection("127.0.0.1", server.port)
        try:
            for connection in (first, second):
                connection.request(
                    "POST",
                    "/api/v1/chat/completions",
                    b'{"model":"slow","parameters":{"prompt":"hi","stream":true}}',
                    {"Authorization": f"Bearer {key}"},
                )
            opened = [connection.getresponse() for connection in (first, second)]
            assert [response.status for response in opened] == [200, 200]
            assert chat(server, key).status == 429
        finally:
            for connection in (first, second):
                with suppress(OSError):
                    connection.close()


def test_a_changed_limit_holds_at_once_and_forgets_nothing(server: Gateway) -> None:
    patch(server, {"apps": {"moved": {"limits": {"rpm": 100}}}})
    key = new_key(server, "moved")
    assert [chat(server, key).status for _ in range(5)] == [200] * 5
    patch(server, {"apps": {"moved": {"limits": {"rpm": 5}}}})
    assert chat(server, key).headers["x-ratelimit-limit-requests"] == "5"
    statuses = [chat(server, key).status for _ in range(5)]
    assert statuses[-1] == 429


def test_many_at_once_are_let_in_exactly_as_often_as_they_may(server: Gateway) -> None:
    patch(server, {"apps": {"crowd": {"limits": {"rpm": 50}}}})
    key = new_key(server, "crowd")
    start = threading.Barrier(8)

    def ask(_: int) -> list[int]:
        start.wait(10)
        return [chat(server, key).status for _ in range(12)]

    with ThreadPoolExecutor(8) as pool:
        statuses = [status for found in pool.map(ask, range(8)) for status in found]
    let_in = statuses.count(200)
    assert set(statuses) == {200, 429}
    assert 50 <= let_in <= 60  # what comes back meanwhile is 0.83 a second
