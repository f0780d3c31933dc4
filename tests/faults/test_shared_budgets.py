"""Limits and budgets of four workers over one Valkey: together they let through what one would."""

from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import pytest
from callers import post
from gateway import Gateway, eventually, serving
from ledger import budget_violations, exported, settle

from benchmarks.redis_server import RedisServer
from dujiang.emulator.server import Emulator
from dujiang.storage.redis.leases import LEASE_S

WORKERS = 4
DOCUMENT = """
providers:
  openai: {kind: openai, base_url: "${OPENAI_BASE_URL}", allow_private_network: true,
           credentials: [{name: main, secret: "${OPENAI_API_KEY}"}]}
models:
  slow: {targets: [{provider: openai, model: latency=100;tokens=1/1000}],
         price: {currency: CNY, input_per_mtok: 0, output_per_mtok: 1000}}
  endless: {targets: [{provider: openai, model: latency=120000;tokens=1/1000}],
            price: {currency: CNY, input_per_mtok: 0, output_per_mtok: 1000}}
  quick: {targets: [{provider: openai, model: tokens=1/1}]}
money: {currency: CNY}
apps: {crowd: {limits: {rpm: 60}}, shop: {}, lab: {limits: {concurrency: 1}}}
budgets:
  - {subject: "app:shop", amount: 20, currency: CNY, per: day}
  - {subject: "app:lab", amount: 3, currency: CNY, per: day}
roles: {admin: {permissions: ["*"]}, user: {permissions: ["chat:call"]}}
"""
"""A call of a priced model that is answered costs 1 CNY."""


@pytest.fixture(scope="module")
def server(
    emulator: Emulator, valkey_server: RedisServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Gateway]:
    environ = {
        "OPENAI_BASE_URL": f"{emulator.url}/v1",
        "OPENAI_API_KEY": "sk-emulated",
        "DUJIANG_REDIS_URL": valkey_server.url,
    }
    folder = tmp_path_factory.mktemp("shared")
    with serving(folder, DOCUMENT, environ=environ, arguments=("--workers", str(WORKERS))) as server:
        yield server


def new_key(server: Gateway, app: str) -> str:
    """A key that every worker knows: connections are divided among them by chance."""
    secret = server.ask("/api/v1/keys", {"app": app, "roles": ["user"]}).json["key"]
    eventually(lambda: all(server.ask("/v1/models", key=secret).status == 200 for _ in range(8 * WORKERS)))
    return secret


def chat(server: Gateway, key: str, model: str) -> int:
    body = {"model": model, "parameters": {"prompt": "hi", "max_tokens": 1000}}
    return server.ask("/api/v1/chat/completions", body, key=key).status


def budget(server: Gateway, app: str) -> Any:
    items = server.ask("/api/v1/budgets").json["items"]
    id = next(item["id"] for item in items if item["subject"] == f"app:{app}")
    return server.ask(f"/api/v1/budgets/{id}").json


def test_two_hundred_calls_at_once_on_a_budget_for_twenty(server: Gateway) -> None:
    key = new_key(server, "shop")
    with ThreadPoolExecutor(100) as pool:
        statuses = Counter(pool.map(lambda _: chat(server, key, "slow"), range(200)))
    assert statuses == {200: 20, 402: 180}
    settle(server)
    found = budget(server, "shop")
    assert (found["spent"], found["reserved"]) == (20.0, 0.0)
    assert budget_violations([row for row in exported(server) if row["app"] == "shop"], found) == []


def test_a_limit_is_one_for_all_workers(server: Gateway) -> None:
    key = new_key(server, "crowd")
    with ThreadPoolExecutor(32) as pool:
        statuses = Counter(pool.map(lambda _: chat(server, key, "quick"), range(200)))
    assert set(statuses) == {200, 429}
    assert 60 <= statuses[200] <= 60 + 10  # one comes back each second


def test_what_a_killed_worker_held_comes_back_within_a_lease(server: Gateway) -> None:
    key = new_key(server, "lab")
    body = b'{"model":"endless","parameters":{"prompt":"hi","max_tokens":1000}}'
    with server.connect() as caller:
        caller.sendall(post("/api/v1/chat/completions", body, key=key))
        eventually(lambda: budget(server, "lab")["reserved"] > 0)
        assert chat(server, key, "slow") == 429
        holder = next(
            worker
            for worker in server.workers
            for connection in worker.net_connections("tcp")
            if connection.raddr and connection.raddr.port == caller.getsockname()[1]
        )
        holder.kill()
        with suppress(OSError):
            caller.recv(10)
    eventually(lambda: budget(server, "lab")["reserved"] == 0, LEASE_S + 5)
    eventually(lambda: chat(server, key, "slow") == 200, 5)
    settle(server)
    assert budget(server, "lab")["spent"] == 1.0
    assert budget_violations([row for row in exported(server) if row["app"] == "lab"], budget(server, "lab")) == []
