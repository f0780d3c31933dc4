"""What is wrong with targets: in the metrics of all workers, and told once to whom the document names."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import redis_servers
from gateway import Gateway, eventually, serving
from receiver import Inbox, Message, receiving

from benchmarks.redis_server import RedisServer
from dujiang.emulator.server import Emulator

DOCUMENT = """
providers:
  broken: {kind: openai, base_url: "${BASE_URL}", allow_private_network: true, credentials: [{name: main, secret: a}]}
  refused: {kind: openai, base_url: "${BASE_URL}", allow_private_network: true, credentials: [{name: main, secret: b}]}
  poor: {kind: openai, base_url: "${BASE_URL}", allow_private_network: true, credentials: [{name: main, secret: c}]}
  shaky: {kind: openai, base_url: "${BASE_URL}", allow_private_network: true, credentials: [{name: main, secret: d}]}
models:
  broken: {targets: [{provider: broken, model: status=500}]}
  refused: {targets: [{provider: refused, model: error=invalid_api_key}]}
  poor: {targets: [{provider: poor, model: error=insufficient_quota}]}
  retried: {targets: [{provider: shaky, model: "status=503"}, {provider: shaky, model: well}],
            resilience: {retry: {max_attempts: 2}, balancing: {strategy: weighted}}}
resilience:
  retry: {max_attempts: 1}
  breaker: {window: 5, min_calls: 2, open_s: 60}
  concurrency: {max_wait_s: 0}
alerts: {url: "${ALERT_URL}", secret: a-secret-of-the-receiver-0123456789, allow_private_network: true}
"""


@pytest.fixture(scope="module")
def redis() -> Iterator[RedisServer]:
    with redis_servers.tested_redis("valkey") as server:
        yield server


@pytest.fixture(scope="module")
def inbox() -> Iterator[Inbox]:
    with receiving() as inbox:
        yield inbox


@pytest.fixture(scope="module")
def server(
    emulator: Emulator, inbox: Inbox, redis: RedisServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Gateway]:
    environ = {"BASE_URL": f"{emulator.url}/v1", "ALERT_URL": inbox.url, "DUJIANG_REDIS_URL": redis.url}
    folder: Path = tmp_path_factory.mktemp("troubles")
    with serving(folder, DOCUMENT, environ=environ, arguments=("--workers", "2")) as server:
        yield server


def samples(server: Gateway, name: str) -> dict[str, float]:
    """The values of a metric by its labels."""
    lines = [line for line in server.ask("/metrics").body.decode().splitlines() if line.startswith(f"{name}{{")]
    return {line[len(name) : line.rindex("}") + 1]: float(line.rsplit(" ", 1)[1]) for line in lines}


def of_model(inbox: Inbox, provider: str) -> list[Message]:
    return [each for each in inbox.messages if each.json["target"]["provider"] == provider]


def told_once(inbox: Inbox, provider: str) -> Message:
    eventually(lambda: of_model(inbox, provider))
    [message] = of_model(inbox, provider)
    assert message.is_signed_by("a-secret-of-the-receiver-0123456789")
    return message


def test_a_breaker_that_opens_is_told_of_once_for_all_workers(server: Gateway, inbox: Inbox) -> None:
    target = '{model="broken",target="broken/status=500",credential="main"'
    for _ in range(30):  # each over a connection of its own, to whichever worker
        server.chat("broken")
    assert samples(server, "dujiang_target_workers")[f'{target},state="open"}}'] >= 1
    assert samples(server, "dujiang_breaker_opened_total")[f"{target}}}"] in {1, 2}
    assert samples(server, "dujiang_target_limit")[f"{target}}}"] > 0
    told = told_once(inbox, "broken").json
    assert set(told) == {"type", "id", "at", "target"}
    assert told["type"] == "breaker.opened"
    assert told["target"] == {
        "provider": "broken",
        "credential": "main",
        "model": "broken",
        "target": "broken/status=500",
        "reason": "upstream_error",
    }


@pytest.mark.parametrize(
    ("model", "behaviour", "kind", "reason"),
    [
        ("refused", "error=invalid_api_key", "credential.refused", "upstream_bad_credential"),
        ("poor", "error=insufficient_quota", "quota.spent", "upstream_out_of_quota"),
    ],
)
def test_a_credential_that_is_not_served_is_told_of_once(
    server: Gateway, inbox: Inbox, model: str, behaviour: str, kind: str, reason: str
) -> None:
    for _ in range(12):
        server.chat(model)
    told = told_once(inbox, model).json
    assert (told["type"], told["target"]) == (kind, {"provider": model, "credential": "main", "reason": reason})
    parked = f'{{model="{model}",target="{model}/{behaviour}",credential="main",state="parked"}}'
    assert samples(server, "dujiang_target_workers")[parked] >= 1


def test_retries_are_counted_by_why(server: Gateway) -> None:
    assert [server.chat("retried").status for _ in range(4)] == [200] * 4
    found = samples(server, "dujiang_retries_total")
    assert found['{target="shaky/well",why="retry"}'] >= 1
