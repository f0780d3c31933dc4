"""The complete example documents, served as they stand, with the emulator in the vendors' place."""

import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
from gateway import Answer, Gateway, behaving, counters, eventually, serving

from dujiang.emulator.server import Emulator
from dujiang.resilience.retry_budget import FLOOR_PER_S

ROOT = Path(__file__).parents[2]
OURS = ROOT / "docs" / "examples" / "dujiang.yaml"
SHARED = ROOT.parent / "shared" / "examples" / "dujiang.yaml"


@dataclass
class Example:
    """A served example. `own` is its self-hosted model, which the provider of `own_provider` serves as `own_target`;
    `attempts` is how often the targets of gpt-4 may be asked for one call.
    """

    gateway: Gateway
    own: str
    own_provider: str
    own_target: str
    attempts: int

    def ask(self, model: str, role: str | None = None, **parameters: object) -> Answer:
        body = {"model": model, "parameters": {"prompt": "你好，世界", **parameters}}
        if role is not None:
            body["user_info"] = {"user_id": "123456", "user_role": role}
        return self.gateway.ask("/api/v1/chat/completions", body)


@pytest.fixture(
    scope="module",
    params=[
        "ours",
        pytest.param(
            "shared",
            marks=pytest.mark.skipif(not SHARED.exists(), reason="the contract's example is not beside the checkout"),
        ),
    ],
)
def example(
    request: pytest.FixtureRequest, emulator: Emulator, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Example]:
    folder = tmp_path_factory.mktemp(request.param)
    text = (OURS if request.param == "ours" else SHARED).read_text("utf-8")
    if request.param == "ours":
        vendors = "    base_url: ${OPENAI_BASE_URL:-https://api.openai.com/v1}\n"
        assert vendors in text
        text = text.replace(vendors, f"{vendors}    allow_private_network: true\n")
    environ = {
        "OPENAI_BASE_URL": f"{emulator.url}/v1",
        "LAB_BASE_URL": f"{emulator.url}/v1",
        "CAMPUS_BASE_URL": f"{emulator.url}/v1",
        "OPENAI_API_KEY": "sk-emulated",
        "DUJIANG_CACHE_DIR": str(folder / "no models"),
    }
    with serving(folder, text, environ=environ) as gateway:
        if request.param == "ours":
            yield Example(gateway, "campus-7b", "campus", "qwen2.5-7b-instruct", 2)
        else:
            yield Example(gateway, "lab-7b", "lab", "lab-7b-chat", 3)


def test_gpt_4_is_served_by_both_of_its_targets(example: Example, emulator: Emulator) -> None:
    before = {name: counters(emulator, name)["attempts"] for name in ("gpt-4-0613", "gpt-4-compatible")}
    seen = Counter()
    for _ in range(24):
        data = example.ask("gpt-4").json["data"]
        assert data["result"]
        assert (data["model_info"]["name"], data["model_info"]["version"]) == ("gpt-4", "0613")
        seen[data["model_info"]["provider"]] += 1
    asked = {name: counters(emulator, name)["attempts"] - count for name, count in before.items()}
    assert asked == {"gpt-4-0613": seen["openai"], "gpt-4-compatible": seen[example.own_provider]}
    assert seen["openai"] > seen[example.own_provider] > 0


def test_the_self_hosted_model(example: Example) -> None:
    data = example.ask(example.own).json["data"]
    assert data["model_info"] == {"name": example.own, "provider": example.own_provider, "version": ""}


def test_aliases(example: Example) -> None:
    assert example.ask("gpt-4-turbo").json["data"]["model_info"]["name"] == "gpt-4"
    answer = example.ask("文心一言")
    assert answer.status in (501, 503)
    assert "ernie" in answer.json["message"].lower()
    assert answer.json["error"]["type"] in ("not_implemented", "misconfigured")


def test_a_model_without_a_file_says_how_to_get_it(example: Example) -> None:
    answer = example.ask("local")
    assert answer.status == 503
    assert answer.json["error"]["type"] == "misconfigured"
    assert "dujiang models pull" in answer.json["message"]


@pytest.mark.parametrize("model", ["auto", "auto:chinese", "auto:nowhere"])
def test_what_is_not_built_yet_says_so(example: Example, model: str) -> None:
    answer = example.ask(model)
    assert answer.status == 501
    assert "auto" in answer.json["message"]


def test_scene_1_with_its_variables(example: Example) -> None:
    plain = example.ask(example.own).json["data"]["usage"]["prompt_tokens"]
    scene = example.ask(example.own, prompt_id="scene_1").json["data"]["usage"]["prompt_tokens"]
    variables = {"company": "都江堰水利发展有限责任公司", "language": "English"}
    named = example.ask(example.own, prompt_id="scene_1", variables=variables).json["data"]["usage"]["prompt_tokens"]
    assert plain < scene < named
    assert example.ask(example.own, prompt_id="scene_1@1").status == 200
    assert example.ask(example.own, prompt_id="scene_1@production").status == 200
    assert example.ask(example.own, prompt_id="scene_1@9").status == 404
    assert example.ask(example.own, prompt_id="scene_1", variables={"nobody": "x"}).status == 422


def test_a_scene_that_locks_its_model(example: Example) -> None:
    """`summary` goes to `auto`, which is not built yet: it must say so, and not take the caller's model instead."""
    answer = example.ask(example.own, prompt_id="summary", variables={"words": 7})
    assert answer.status == 501
    assert example.ask(example.own, prompt_id="summary", variables={"words": 4}).status == 422
    assert example.ask(example.own, prompt_id="summary", variables={"words": "many"}).status == 422


def test_a_users_models(example: Example) -> None:
    assert example.ask(example.own, role="user").status == 200
    assert example.ask("gpt-4o-mini", role="user").status == 200
    for model in ("gpt-4", "gpt-4-turbo", "文心一言"):
        answer = example.ask(model, role="user")
        assert answer.status == 403
        assert answer.json["error"]["param"] == "model"


def test_a_guests_models_and_tokens(example: Example) -> None:
    assert example.ask(example.own, role="guest").status == 403
    assert example.ask("local", role="guest").status == 503
    assert example.ask("local", role="guest", max_tokens=257).status == 400


@pytest.mark.parametrize(("role", "status"), [("admin", 200), ("developer", 200), ("operator", 403), ("emperor", 403)])
def test_other_roles(example: Example, role: str, status: int) -> None:
    assert example.ask(example.own, role=role).status == status


def test_what_is_not_in_effect_is_said_at_the_start_and_in_health(example: Example) -> None:
    health = example.gateway.ask("/api/v1/health").json
    assert {"routes", "cache", "schedule"} <= set(health["not_in_effect"])

    def said() -> str:
        return (example.gateway.data_dir / "log").read_text("utf-8")

    eventually(lambda: "not in effect" in said() and "models pull" in said())
    [line] = [line for line in said().splitlines() if "not in effect" in line]
    assert all(path in line for path in health["not_in_effect"])


def test_health_names_every_provider_and_what_each_lacks(example: Example) -> None:
    providers = example.gateway.ask("/api/v1/health").json["components"]["providers"]
    assert {"openai", "ernie", "local", example.own_provider} <= set(providers)
    for name in ("ernie", "local"):
        [target] = providers[name].values()
        assert target["state"] == "unconfigured"
        assert target["reason"]


def test_a_target_of_two_credentials_answers_with_the_one_that_is_good(emulator: Emulator, tmp_path: Path) -> None:
    """It must not hide that the other is refused, which is asked once."""
    environ = {
        "OPENAI_BASE_URL": f"{emulator.url}/v1",
        "OPENAI_API_KEY": "sk-invalid",
        "OPENAI_API_KEY_2": "sk-emulated",
        "DUJIANG_CACHE_DIR": str(tmp_path / "no models"),
    }
    text = """
providers:
  openai: {kind: openai, base_url: "${OPENAI_BASE_URL}", allow_private_network: true,
           credentials: [{name: main, secret: "${OPENAI_API_KEY}"}, {name: spare, secret: "${OPENAI_API_KEY_2}"}]}
models: {gpt-4: {targets: [{provider: openai, model: gpt-4-0613}]}}
"""
    with serving(tmp_path, text, environ=environ) as gateway:
        answers = [gateway.chat() for _ in range(16)]
        health = gateway.ask("/api/v1/health").json
    assert {answer.status for answer in answers} == {200}
    assert sum(answer.json["data"]["attempts"] for answer in answers) == len(answers) + 1
    [target] = health["components"]["providers"]["openai"].values()
    assert (target["state"], target["reason"]) == ("parked", "upstream_bad_credential")
    assert health["status"] == "degraded"


@pytest.fixture
def rested() -> None:
    """After a second, a quiet model has all the retries again that it ever has."""
    time.sleep(1.1)


@pytest.mark.usefixtures("rested")
@pytest.mark.parametrize("failing", ["gpt-4-0613", "gpt-4-compatible"])
def test_either_target_stands_in_for_the_other(example: Example, emulator: Emulator, failing: str) -> None:
    with behaving(emulator, failing, "status=500"):
        answers = [example.ask("gpt-4") for _ in range(FLOOR_PER_S)]
    provider = example.own_provider if failing == "gpt-4-0613" else "openai"
    assert {answer.json["data"]["model_info"]["provider"] for answer in answers} == {provider}


@pytest.mark.usefixtures("rested")
def test_when_both_targets_fail_a_fallback_answers(example: Example, emulator: Emulator) -> None:
    with behaving(emulator, "gpt-4-0613", "status=500"), behaving(emulator, "gpt-4-compatible", "status=500"):
        data = example.ask("gpt-4").json["data"]
    assert (data["model_info"]["name"], data["attempts"]) == ("gpt-4o-mini", example.attempts + 1)


@pytest.mark.usefixtures("rested")
def test_when_everything_fails_the_answer_says_what_was_tried(example: Example, emulator: Emulator) -> None:
    names = ("gpt-4-0613", "gpt-4-compatible", "gpt-4o-mini")
    with ExitStack() as stack:
        for name in names:
            stack.enter_context(behaving(emulator, name, "status=500"))
        answer = example.ask("gpt-4")
    assert (answer.status, answer.json["error"]["type"]) == (502, "upstream_error")
    attempts = answer.json["error"]["attempts"]
    whys = [attempt["why"] for attempt in attempts]
    assert whys[: example.attempts + 1] == ["first", *["retry"] * (example.attempts - 1), "fallback"]
    assert set(whys[example.attempts + 1 :]) <= {"retry"}
    assert {attempt["target"] for attempt in attempts} == {
        "openai/gpt-4-0613",
        f"{example.own_provider}/gpt-4-compatible",
        "openai/gpt-4o-mini",
    }
    assert {attempt["error"] for attempt in attempts} == {"upstream_error"}
