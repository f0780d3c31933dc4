"""An operator's words about targets: seen, followed by every worker, kept over reloads and restarts."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import redis_servers
from configured import patch
from gateway import Answer, Gateway, behaving, counters, eventually, serving
from typer.testing import CliRunner

from benchmarks.redis_server import RedisServer
from dujiang.cli.main import app
from dujiang.emulator.server import Emulator

TARGETS = "/api/v1/targets"
DOCUMENT = """
providers:
  one: {kind: openai, base_url: "${BASE_URL}", allow_private_network: true, credentials: [{name: a, secret: sk-a},
        {name: b, secret: sk-b}]}
  two: {kind: openai, base_url: "${BASE_URL}", allow_private_network: true, credentials: [{name: main, secret: sk-c}]}
models:
  m: {targets: [{provider: one, model: first}, {provider: two, model: second/v1}]}
  alone: {targets: [{provider: two, model: lone}]}
resilience:
  retry: {max_attempts: 1}
  breaker: {window: 5, min_calls: 2, open_s: 60}
  concurrency: {max_wait_s: 0}
  fallbacks: {m: [alone]}
"""


@pytest.fixture(scope="module")
def redis() -> Iterator[RedisServer]:
    with redis_servers.tested_redis("valkey") as server:
        yield server


@pytest.fixture(scope="module")
def house(emulator: Emulator, redis: RedisServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    environ = {"BASE_URL": f"{emulator.url}/v1", "DUJIANG_ENV_ALLOW": "BASE_URL", "DUJIANG_REDIS_URL": redis.url}
    with serving(tmp_path_factory.mktemp("targets"), DOCUMENT, environ=environ, arguments=("--workers", "2")) as found:
        yield found


@pytest.fixture(autouse=True)
def restored(house: Gateway) -> None:
    house.restore()


def listed(house: Gateway) -> dict[str, str]:
    items = house.ask(TARGETS).json["items"]
    return {f"{item['model']} {item['target']} {item['credential']}": item["state"] for item in items}


def states(house: Gateway, model: str = "m") -> set[str]:
    return {state for place, state in listed(house).items() if place.startswith(f"{model} ")}


def say(house: Gateway, word: str, reason: str = "moving house", **names: str) -> int:
    return house.ask(f"{TARGETS}/{word}", {**names, "reason": reason}).status


def served_by(house: Gateway, model: str = "m", calls: int = 12) -> set[str]:
    """Whom some calls were answered by, whichever worker took them."""
    answers = [house.chat(model) for _ in range(calls)]
    assert {answer.status for answer in answers} == {200}
    ids = [answer.headers["x-request-id"] for answer in answers]
    eventually(lambda: {house.ask(f"/api/v1/records/{id}").status for id in ids} == {200})
    return {house.ask(f"/api/v1/records/{id}").json["target"] for id in ids}


def test_every_target_is_listed_with_its_place(house: Gateway) -> None:
    found = house.ask(TARGETS).json
    assert [(item["model"], item["target"], item["credential"]) for item in found["items"]] == [
        ("m", "one/first", "a"),
        ("m", "one/first", "b"),
        ("m", "two/second/v1", "main"),
        ("alone", "two/lone", "main"),
    ]
    assert [item["weight"] for item in found["items"]] == [0.5, 0.5, 1.0, 1.0]
    assert {item["limit"] for item in found["items"]} == {256}
    assert found["queues"] == [{"model": "m", "inside": 0, "waiting": 0}, {"model": "alone", "inside": 0, "waiting": 0}]
    assert found["silent_workers"] == 0


def test_a_drained_target_gets_no_call_from_any_worker_until_it_is_restored(house: Gateway) -> None:
    assert say(house, "drain", target="one/first") == 204
    eventually(lambda: states(house) == {"drained", "ok"} or states(house) == {"drained", "unused"})
    eventually(lambda: served_by(house, calls=4) == {"two/second/v1"})
    assert served_by(house) == {"two/second/v1"}
    assert house.ask("/api/v1/health").json["status"] == "ok"
    house.restore()
    eventually(lambda: "drained" not in states(house))
    assert served_by(house) == {"one/first", "two/second/v1"}


def test_the_catalogue_shows_what_the_worst_worker_sees(house: Gateway, emulator: Emulator) -> None:
    """One failed call: one worker alone knows."""
    with behaving(emulator, "lone", "status=500"):
        house.chat("alone")
    for _ in range(12):
        found = house.ask("/api/v1/models/alone").json
        [target] = found["target_health"]
        assert (found["health"], target["state"], target["reason"]) == ("failing", "failing", "upstream_error")
        assert target["limit"] == 256


def test_an_ejected_target_degrades_health_and_says_why(house: Gateway) -> None:
    assert say(house, "eject", "answers nonsense", provider="two") == 204
    eventually(lambda: states(house, "alone") == {"ejected"})
    health = house.ask("/api/v1/health").json
    assert health["status"] == "degraded"
    assert health["components"]["providers"]["two"]["two/lone"]["reason"] == "answers nonsense"
    eventually(lambda: house.chat("alone").status == 503)
    refused = house.chat("alone")
    assert (refused.json["error"]["reason"], "retry-after" in refused.headers) == ("no_target", False)
    house.restore()
    eventually(lambda: house.ask("/api/v1/health").json["status"] == "ok")


def test_a_word_outlives_a_reload_and_the_narrowest_counts(house: Gateway) -> None:
    say(house, "drain", "all of it", provider="one")
    say(house, "eject", "this key", credential="b", provider="one")
    patch(house, {"models": {"m": {"version": "changed"}}})
    eventually(lambda: listed(house)["m one/first b"] == "ejected")
    assert listed(house)["m one/first a"] == "drained"


@pytest.mark.parametrize(
    ("held", "restored", "still"),
    [
        ({"provider": "one"}, {"target": "one/first"}, "provider=one"),
        ({"target": "one/first"}, {"provider": "one"}, "target=one/first"),
        ({"credential": "main"}, {"provider": "two", "credential": "main"}, "credential=main"),
    ],
)
def test_what_would_stay_out_is_not_called_restored(
    house: Gateway, held: dict[str, str], restored: dict[str, str], still: str
) -> None:
    say(house, "drain", **held)
    refused: list[Answer] = []

    def is_refused() -> bool:
        refused[:] = [house.ask(f"{TARGETS}/restore", restored)]
        return refused[0].status == 409

    eventually(is_refused)
    assert refused[0].json["error"]["reason"] == "held"
    assert still in refused[0].json["message"]
    assert house.ask(f"{TARGETS}/restore", held).status == 204
    eventually(lambda: "drained" not in listed(house).values())


def test_a_restored_target_is_asked_again_though_its_breaker_was_open(house: Gateway, emulator: Emulator) -> None:
    with behaving(emulator, "lone", "status=500"):
        for _ in range(20):
            house.chat("alone")
        assert states(house, "alone") <= {"open", "half_open"}
        before = counters(emulator, "lone")["attempts"]
        assert {house.chat("alone").status for _ in range(40)} <= {502, 503}
        assert counters(emulator, "lone")["attempts"] - before <= 10  # the last resort's probes, one a second
    house.restore()
    eventually(lambda: {house.chat("alone").status for _ in range(8)} == {200})  # the other worker hears of it


def test_a_restart_forgets_nothing_that_an_operator_said(house: Gateway) -> None:
    say(house, "drain", provider="one")
    worker = house.worker
    worker.kill()
    worker.wait(10)  # until then its socket takes connections, and ends with them
    eventually(lambda: len(house.workers) == 2)
    eventually(lambda: house.ask(TARGETS).json["silent_workers"] == 0)
    assert served_by(house) == {"two/second/v1"}


def test_what_one_worker_finds_out_the_others_know(house: Gateway, emulator: Emulator) -> None:
    with behaving(emulator, "second/v1", "status=500"):
        for _ in range(30):
            house.chat("m")
    eventually(lambda: "open" in states(house) or "half_open" in states(house))
    house.restore()
    before = counters(emulator, "lone")["attempts"]
    with behaving(emulator, "lone", "error=insufficient_quota"):
        assert {house.chat("alone").status for _ in range(30)} <= {502, 503}
    assert counters(emulator, "lone")["attempts"] - before <= 2
    assert states(house, "alone") == {"parked"}


def test_another_key_is_used_at_once_in_the_place_of_a_refused_one(house: Gateway) -> None:
    def use(secret: str) -> None:
        credentials = [{"name": "main", "secret": secret}]
        assert patch(house, {"providers": {"two": {"credentials": credentials}}}).status == 200

    use("sk-invalid")
    eventually(lambda: house.chat("alone").status in {502, 503} and states(house, "alone") == {"parked"})
    use("sk-c")
    eventually(lambda: house.chat("alone").status == 200)


def test_every_word_is_audited(house: Gateway) -> None:
    say(house, "eject", "smells", target="two/lone")
    [first, *_] = house.ask("/api/v1/config/audit").json["items"]
    assert (first["action"], first["subject"], first["outcome"]) == ("ejected", "targets.target=two/lone", "applied")
    assert first["detail"] == "smells"


def test_a_call_is_explained_without_being_made(house: Gateway, emulator: Emulator) -> None:
    say(house, "drain", target="one/first")
    eventually(lambda: listed(house)["m one/first a"] == "drained")
    before = counters(emulator, "second/v1")["attempts"]
    body = {"model": "m", "parameters": {"prompt": "hi"}}
    found = house.ask("/api/v1/routing/explain", body)
    assert found.status == 200
    assert (found.json["chosen"], found.json["reason"], found.json["route"]) == ("m", "named", None)
    assert [(each["model"], each["excluded_because"]) for each in found.json["candidates"]] == [
        ("m", None),
        ("alone", None),
    ]
    ready = {(each["target"], each["credential"]): each["is_ready"] for each in found.json["targets"]}
    assert ready == {("one/first", "a"): False, ("one/first", "b"): False, ("two/second/v1", "main"): True}
    assert counters(emulator, "second/v1")["attempts"] == before


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"model": "nobody", "parameters": {"prompt": "hi"}}, 404),
        ({"model": "m", "parameters": {"prompt": "hi", "temprature": 1}}, 400),
        ({"model": "auto", "parameters": {"prompt": "hi"}}, 501),
        (b"{", 400),
    ],
)
def test_what_could_not_be_called_is_not_explained(house: Gateway, body: object, status: int) -> None:
    assert house.ask("/api/v1/routing/explain", body).status == status


@pytest.mark.parametrize(
    ("word", "body", "status"),
    [
        ("drain", {"reason": "x"}, 400),
        ("drain", {"target": "one/first"}, 422),
        ("drain", {"target": "nobody", "reason": "x"}, 404),
        ("eject", {"provider": "one", "reason": ""}, 422),
        ("eject", {"provider": "one", "reason": "x" * 501}, 422),
        ("eject", {"provider": "one", "reason": "x", "for_s": 5}, 422),
        ("eject", {"provider": ["one"], "reason": "x"}, 422),
        ("restore", {"target": "nobody"}, 404),
        ("restore", {"targets": []}, 422),
        ("restore", [], 422),
    ],
)
def test_what_makes_no_sense_is_refused(house: Gateway, word: str, body: object, status: int) -> None:
    answer = house.ask(f"{TARGETS}/{word}", body)
    assert (answer.status, answer.json["data"]) == (status, None)


def test_the_shell_says_the_same(house: Gateway) -> None:
    def run(*words: str) -> str:
        ran = CliRunner().invoke(app, ["targets", *words, "--data-dir", str(house.data_dir)])
        assert ran.exit_code == 0, ran.output
        return ran.output

    run("drain", "--target", "one/first", "--reason", "from a shell")
    assert "from a shell" in run("list")
    eventually(lambda: listed(house)["m one/first a"] == "drained")
    run("restore", "--provider", "one")  # not all that was said is of that provider
    assert "from a shell" in run("list")
    run("restore", "--target", "one/first")
    assert "from a shell" not in run("list")
    eventually(lambda: "drained" not in states(house))


@pytest.mark.parametrize("words", [["drain", "--reason", "x"], ["eject", "--provider", "one", "--reason", ""]])
def test_the_shell_refuses_the_same(tmp_path: Path, words: list[str]) -> None:
    assert CliRunner().invoke(app, ["targets", *words, "--data-dir", str(tmp_path)]).exit_code == 2
