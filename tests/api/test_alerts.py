"""Alerts: a budget that is nearly or wholly spent is told of, once, to whom the document names, and signed."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from configured import patch, problems_of, tree_of
from gateway import Gateway, eventually, serving
from receiver import Inbox, receiving

from dujiang.emulator.server import Emulator
from dujiang.identity.keys import create_key
from dujiang.storage.database import connect, sqlite_url

DOCUMENT = """
providers:
  openai: {kind: openai, base_url: "${OPENAI_BASE_URL}", allow_private_network: true,
           credentials: [{name: main, secret: "${OPENAI_API_KEY}"}]}
models:
  one: {targets: [{provider: openai, model: tokens=1/1000}],
        price: {currency: CNY, input_per_mtok: 0, output_per_mtok: 1000}}
apps: {a: {}, b: {}, c: {}, d: {}, e: {}}
budgets:
  - {subject: "app:*", amount: 4, currency: CNY, per: month, soft_ratio: 0.5}
roles:
  admin: {permissions: ["*"]}
  user: {permissions: ["chat:call"]}
  steward: {permissions: ["config:*"]}
alerts: {url: "${ALERT_URL}/hook?to=us", secret: "${ALERT_SECRET}", allow_private_network: true}
"""
SECRET = "a-secret-of-the-receiver-0123456789"


@pytest.fixture(scope="module")
def inbox() -> Iterator[Inbox]:
    with receiving() as inbox:
        yield inbox


@pytest.fixture(scope="module")
def server(emulator: Emulator, inbox: Inbox, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    environ = {
        "OPENAI_BASE_URL": f"{emulator.url}/v1",
        "OPENAI_API_KEY": "sk-emulated",
        "ALERT_URL": inbox.url,
        "ALERT_SECRET": SECRET,
        "DUJIANG_ENV_ALLOW": "ALERT_URL,ALERT_SECRET",
    }
    with serving(tmp_path_factory.mktemp("alerts"), DOCUMENT, environ=environ) as server:
        yield server


def new_key(server: Gateway, app: str, role: str = "user") -> str:
    with connect(sqlite_url(server.data_dir)) as database:
        _, secret = create_key(database, app=app, roles=[role])
    eventually(lambda: server.ask("/v1/models", key=secret).status != 401)
    return secret


def chat(server: Gateway, key: str) -> int:
    body = {"model": "one", "parameters": {"prompt": "hi", "max_tokens": 1000}}
    return server.ask("/api/v1/chat/completions", body, key=key).status


def log_of(server: Gateway) -> str:
    return (server.data_dir / "log").read_text("utf-8")


def test_a_budget_that_passes_its_marks_is_told_of_once_each(server: Gateway, inbox: Inbox) -> None:
    key = new_key(server, "a")
    assert [chat(server, key) for _ in range(6)] == [200] * 4 + [402] * 2
    eventually(lambda: inbox.of("budget.spent", "app:a"))
    [soft], [spent] = inbox.of("budget.soft", "app:a"), inbox.of("budget.spent", "app:a")
    assert spent.path == "/hook?to=us"
    assert spent.is_signed_by(SECRET)
    assert not spent.is_signed_by("another")
    assert soft.is_signed_by(SECRET)
    told = spent.json
    assert set(told) == {"type", "id", "at", "budget"}
    [budget] = server.ask("/api/v1/budgets").json["items"]
    assert told["budget"] == {
        "id": budget["id"],
        "subject": "app:a",
        "limit": 4.0,
        "currency": "CNY",
        "spent": 4.0,
        "window_start": budget["window_start"],
    }
    assert 2.0 <= soft.json["budget"]["spent"] <= 4.0
    lines = [line for line in log_of(server).splitlines() if "alert" in line and '"app:a"' in line]
    assert len(lines) == 2


def test_an_alert_is_sent_again_until_it_is_taken(server: Gateway, inbox: Inbox) -> None:
    inbox.answers[:] = [500, 302]
    key = new_key(server, "b")
    assert [chat(server, key) for _ in range(2)] == [200] * 2
    eventually(lambda: len(inbox.of("budget.soft", "app:b")) == 3, 20)
    assert len({each.json["id"] for each in inbox.of("budget.soft", "app:b")}) == 1
    assert all(each.is_signed_by(SECRET) for each in inbox.of("budget.soft", "app:b"))
    assert {each.path for each in inbox.messages} == {"/hook?to=us"}


def test_the_newest_document_says_where_alerts_go(server: Gateway, inbox: Inbox) -> None:
    before = tree_of(server)["alerts"]
    secret = "another-secret-0123456789"
    assert patch(server, {"alerts": {"url": f"{inbox.url}/moved", "secret": secret}}).status == 200
    try:
        key = new_key(server, "c")
        assert [chat(server, key) for _ in range(2)] == [200] * 2
        eventually(lambda: inbox.of("budget.soft", "app:c"))
        [told] = inbox.of("budget.soft", "app:c")
        assert told.path == "/moved"
        assert told.is_signed_by(secret)
        assert tree_of(server)["alerts"]["secret"] == "***"
        assert patch(server, {"alerts": None}).status == 200
        key = new_key(server, "d")
        assert [chat(server, key) for _ in range(2)] == [200] * 2
        eventually(lambda: '"app:d"' in log_of(server))
    finally:
        assert patch(server, {"alerts": before}).status == 200
    assert inbox.of("budget.soft", "app:d") == []


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:9/",
        "http://localhost/",
        "http://10.0.0.1/hook",
        "http://[::1]/",
        "http://169.254.169.254/",
        "https://metadata.google.internal/",
        "ftp://example.com/",
        "https://user:password@example.com/",
        "https://example.com/#part",
    ],
)
def test_alerts_go_to_no_private_network_unless_that_is_meant(server: Gateway, url: str) -> None:
    answer = patch(server, {"alerts": {"url": url, "secret": "x" * 20, "allow_private_network": None}})
    assert problems_of(answer) == {"alerts.url"}


def test_only_who_holds_everything_opens_the_private_network(server: Gateway, inbox: Inbox) -> None:
    key = new_key(server, "admin", "steward")
    change: dict[str, Any] = {"url": f"{inbox.url}/mine", "secret": "x" * 20, "allow_private_network": True}
    answer = patch(server, {"alerts": change}, key=key)
    assert (answer.status, answer.json["error"]["param"]) == (403, "alerts.allow_private_network")


def test_the_last_alerts_go_out_with_the_server(emulator: Emulator, tmp_path: Path) -> None:
    with receiving() as inbox:
        environ = {
            "OPENAI_BASE_URL": f"{emulator.url}/v1",
            "OPENAI_API_KEY": "sk-emulated",
            "ALERT_URL": inbox.url,
            "ALERT_SECRET": SECRET,
        }
        with serving(tmp_path, DOCUMENT, environ=environ) as server:
            key = new_key(server, "e")
            assert [chat(server, key) for _ in range(4)] == [200] * 4
        assert len(inbox.of("budget.spent", "app:e")) == 1
