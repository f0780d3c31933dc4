"""Scenes over HTTP: versions and rollouts, whom they are for, locks, and answers held against a schema."""

import json
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import pytest
from gateway import ADMIN_KEY, Answer, Gateway, eventually, serving
from openai import OpenAI

from dujiang.emulator.server import Emulator

GOOD = '{"name":"李","age":3}'
DOCUMENT = """
providers:
  openai: {kind: openai, base_url: "${OPENAI_BASE_URL}", allow_private_network: true,
           credentials: [{name: main, secret: sk-emulated}]}
  scripted: {kind: openai, base_url: "${SCRIPTED_BASE_URL}", allow_private_network: true}
models:
  able: {abilities: {json_schema: true}, targets: [{provider: openai, model: able}]}
  plain: {targets: [{provider: openai, model: plain}]}
  scripted:
    price: {currency: CNY, input_per_mtok: 1000000, output_per_mtok: 0}
    targets: [{provider: scripted, model: scripted}]
aliases: {clever: able}
scenes:
  rolled:
    versions: [{version: 1, system: One.}, {version: 2, system: Two.}]
    labels: {production: {"1": 50, "2": 50}, staging: {"1": 90, "2": 10}, first: 1}
  staff: {roles: [clerk], versions: [{version: 1}]}
  foreign: {apps: [elsewhere], versions: [{version: 1, system: "{{x}}"}]}
  strict: {versions: [{version: 1, parameters: {temperature: 0.5, max_tokens: 20}, locks: [temperature, top_p]}]}
  person:
    versions:
      - version: 1
        system: "You know {{who}}."
        variables: {who: {default: "{{7*7}} ${HOME} {0.__class__} {% x %}"}}
        output_schema:
          type: object
          properties: {name: {type: string}, age: {$ref: "#/$defs/age"}}
          required: [name, age]
          $defs: {age: {type: integer, minimum: 0}}
  grown: {versions: [{version: 1, system: "GROWN"}]}
roles:
  admin: {permissions: ["*"]}
  clerk: {permissions: ["chat:call"]}
  guest: {permissions: ["chat:call"]}
""".replace("GROWN", "{{x}}" * 1000)


class Upstream(ThreadingHTTPServer):
    """A model that says what it is told to, one thing a call, and remembers what it was asked."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Speaker)
        self.answers: list[str] = []
        self.asked: list[Any] = []

    def say(self, *answers: str) -> None:
        self.answers, self.asked = list(answers), []


class _Speaker(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        upstream: Any = self.server
        upstream.asked.append(json.loads(self.rfile.read(int(self.headers["content-length"]))))
        message = {"role": "assistant", "content": upstream.answers.pop(0)}
        usage = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        body = json.dumps({"model": "scripted-1", "choices": [choice], "usage": usage}).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Nothing to say."""


@pytest.fixture(scope="module")
def upstream() -> Iterator[Upstream]:
    with Upstream() as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture(scope="module")
def scenes(emulator: Emulator, upstream: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    environ = {
        "OPENAI_BASE_URL": f"{emulator.url}/v1",
        "SCRIPTED_BASE_URL": f"http://127.0.0.1:{upstream.server_address[1]}/v1",
    }
    with serving(tmp_path_factory.mktemp("scenes"), DOCUMENT, environ=environ) as gateway:
        yield gateway


def ask(gateway: Gateway, prompt_id: str, user: dict[str, str] | None = None, **more: Any) -> Answer:
    model, request_id = more.pop("model", "plain"), more.pop("request_id", None)
    body: dict[str, Any] = {"model": model, "parameters": {"prompt": "你好", "prompt_id": prompt_id, **more}}
    if user:
        body["user_info"] = user
    if request_id:
        body["request_id"] = request_id
    return gateway.ask("/api/v1/chat/completions", body)


def record_of(gateway: Gateway, request_id: str) -> Any:
    found: list[Any] = []

    def is_there() -> bool:
        found[:] = gateway.ask(f"/api/v1/records?request_id={request_id}").json["items"]
        return bool(found)

    eventually(is_there)
    return gateway.ask(f"/api/v1/records/{found[0]['id']}").json


def test_a_rollout_is_sticky_by_user_and_recorded(scenes: Gateway) -> None:
    versions: dict[str, set[int]] = {}
    for n in range(40):
        assert ask(scenes, "rolled", {"user_id": f"user-{n % 20}"}, request_id=f"rolled-{n}").status == 200
    for n in range(40):
        user = f"user-{n % 20}"
        record = record_of(scenes, f"rolled-{n}")
        assert (record["scene"], record["user_id"]) == ("rolled", user)
        versions.setdefault(user, set()).add(record["scene_version"])
    assert all(len(seen) == 1 for seen in versions.values())
    shares = Counter(next(iter(seen)) for seen in versions.values())
    assert set(shares) == {1, 2}
    # The same by the conversation, where there is no user, and over the other door.
    body = {"model": "plain", "messages": [{"role": "user", "content": "hi"}], "prompt_id": "rolled", "user": "user-3"}
    assert scenes.ask("/v1/chat/completions", {**body, "request_id": "rolled-openai"}).status == 200
    assert {record_of(scenes, "rolled-openai")["scene_version"]} == versions["user-3"]
    for n in range(2):
        ask(scenes, "rolled", {"conversation_id": "user-3"}, request_id=f"rolled-c{n}")
        assert {record_of(scenes, f"rolled-c{n}")["scene_version"]} == versions["user-3"]


def test_a_version_or_a_label_is_chosen_by_name(scenes: Gateway) -> None:
    for prompt_id, version in (("rolled@2", 2), ("rolled@1", 1), ("rolled@first", 1)):
        assert ask(scenes, prompt_id, request_id=f"named-{prompt_id[7:]}").status == 200
        assert record_of(scenes, f"named-{prompt_id[7:]}")["scene_version"] == version
    assert ask(scenes, "rolled@staging").status == 200
    assert ask(scenes, "rolled@nowhere").status == 404
    assert ask(scenes, "rolled@3").status == 404


def test_whom_a_scene_is_for(scenes: Gateway) -> None:
    assert ask(scenes, "staff").status == 200
    assert ask(scenes, "staff", {"user_role": "clerk"}).status == 200
    refused = ask(scenes, "staff", {"user_role": "guest"})
    assert (refused.status, refused.json["error"]["reason"]) == (403, "scene")
    answers = [ask(scenes, prompt_id) for prompt_id in ("foreign", "foreign@1", "foreign@9", "foreign@label")]
    assert {answer.status for answer in answers} == {403}
    assert len({answer.json["message"] for answer in answers}) == 1
    assert ask(scenes, "foreigner").status == 404


def test_a_locked_parameter(scenes: Gateway) -> None:
    assert ask(scenes, "strict").status == 200
    assert ask(scenes, "strict", temperature=0.5, max_tokens=3).status == 200
    for name in ("temperature", "top_p"):
        answer = ask(scenes, "strict", **{name: 0.9})
        assert (answer.status, answer.json["error"]["param"]) == (422, f"parameters.{name}")


@pytest.mark.parametrize("model", ["able", "clever"])
def test_a_model_that_writes_by_a_schema_is_asked_to(scenes: Gateway, model: str) -> None:
    answer = ask(scenes, "person", model=model)
    assert answer.status == 200
    data = answer.json["data"]
    assert data["output"] == json.loads(data["result"])
    assert isinstance(data["output"]["age"], int)
    assert data["attempts"] == 1


def test_a_model_that_only_talks_is_an_error_after_two_attempts(scenes: Gateway) -> None:
    answer = ask(scenes, "person", request_id="talks")
    assert answer.status == 502
    error = answer.json["error"]
    assert (error["type"], error["reason"]) == ("output_invalid", "not_json")
    assert [attempt["why"] for attempt in error["attempts"]] == ["first", "repair"]
    record = record_of(scenes, "talks")
    assert (record["status"], record["error_type"], record["attempts"]) == ("error", "output_invalid", 2)
    assert record["usage"]["completion_tokens"] > 0
    streamed = ask(scenes, "person", stream=True)
    assert streamed.status == 502
    assert streamed.json["error"]["type"] == "output_invalid"


def test_a_bad_answer_is_repaired_and_both_are_paid(scenes: Gateway, upstream: Upstream) -> None:
    upstream.say('{"name":"李"}', f"```json\n{GOOD}\n```")
    answer = ask(scenes, "person", model="scripted", request_id="repaired")
    data = answer.json["data"]
    assert (data["output"], data["result"]) == ({"name": "李", "age": 3}, GOOD)
    assert (data["attempts"], data["usage"]["total_tokens"]) == (2, 30)
    assert float(data["cost"]["amount"]) == 20
    first, second = upstream.asked
    assert "JSON Schema" in first["messages"][0]["content"]
    assert "{{7*7}} ${HOME} {0.__class__} {% x %}" in first["messages"][0]["content"]
    assert second["messages"][:2] == first["messages"]
    assert "'age' is a required property" in second["messages"][-1]["content"]
    record = record_of(scenes, "repaired")
    assert (record["status"], record["usage"]["total_tokens"]) == ("ok", 30)
    assert [attempt["why"] for attempt in record["attempts_detail"]] == ["first", "repair"]
    assert float(record["cost"]["amount"]) == 20


def test_a_stream_comes_as_one_piece_at_the_end(scenes: Gateway, upstream: Upstream) -> None:
    upstream.say("no", GOOD)
    answer = ask(scenes, "person", model="scripted", stream=True)
    assert answer.headers["content-type"].startswith("text/event-stream")
    delta, last, done = answer.events
    assert delta["data"]["delta"] == GOOD
    assert last["data"]["output"] == {"name": "李", "age": 3}
    assert "delta" not in last["data"]
    assert done == "[DONE]"
    assert not any(asked.get("stream") for asked in upstream.asked)


def test_in_openais_format_the_value_is_beside_the_answer(scenes: Gateway, upstream: Upstream) -> None:
    upstream.say(GOOD, GOOD)
    client = OpenAI(base_url=f"{scenes.url}/v1", api_key=ADMIN_KEY, max_retries=0)
    asked: dict[str, Any] = {
        "model": "scripted",
        "messages": [{"role": "user", "content": "hi"}],
        "extra_body": {"prompt_id": "person", "variables": {"who": "{{who}}"}},
    }
    with client:
        whole: Any = client.chat.completions.create(**asked)
        last: Any
        *_, last = client.chat.completions.create(**asked, stream=True)
    assert whole.choices[0].message.content == GOOD
    assert whole.dujiang["output"] == {"name": "李", "age": 3}
    assert last.dujiang["output"] == {"name": "李", "age": 3}
    assert upstream.asked[0]["messages"][0]["content"].startswith("You know {{who}}.")


def test_a_scene_that_would_grow_beyond_all_bounds(scenes: Gateway) -> None:
    assert ask(scenes, "grown", variables={"x": "y" * 1000}).status == 200
    assert ask(scenes, "grown", variables={"x": "y" * 1049}).status == 422
    assert ask(scenes, "grown", variables={"x": "{{x}}" * 1000}).status == 422


@pytest.mark.parametrize(
    ("prompt_id", "status"),
    [
        ("../../etc/passwd", 400),
        ("rolled/../staff", 400),
        ("rolled\n", 400),
        ("rolled\0", 400),
        ("rolled@../staff", 400),
        ("rolled@1@2", 400),
        ("rolled@", 400),
        ("@1", 400),
        ("%2e%2e", 400),
        ("__class__", 404),
        ("rolled@__init__", 404),
        ("rolled@999999999999999999999", 404),
    ],
)
def test_an_id_that_leads_nowhere(scenes: Gateway, prompt_id: str, status: int) -> None:
    answer = ask(scenes, prompt_id)
    assert (answer.status, answer.json["error"]["param"]) == (status, "parameters.prompt_id")
