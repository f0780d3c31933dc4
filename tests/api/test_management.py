"""Everything that is not a chat call: health, metrics, documentation, and who may see what."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from gateway import ADMIN_KEY, ONE_ATTEMPT, Answer, Gateway, behaving, eventually, serving

from dujiang.api.management import create_management
from dujiang.emulator.server import Emulator
from dujiang.identity.keys import create_key
from dujiang.storage.database import connect, sqlite_url

WRONG_KEY = "dj-Wrong0Key1With2Enough3Characters9"

DOCUMENT = (
    ONE_ATTEMPT
    + """
providers:
  openai: {kind: openai, base_url: "${OPENAI_BASE_URL}", allow_private_network: true,
           credentials: [{name: main, secret: "${OPENAI_API_KEY}"}]}
  keyless: {kind: openai, credentials: [{name: main, secret: ""}]}
models:
  gpt-4o-mini: {targets: [{provider: openai, model: gpt-4o-mini}]}
  gpt-4: {targets: [{provider: openai, model: gpt-4-0613}]}
  keyless: {targets: [{provider: keyless, model: m}]}
apps:
  shop: {models: [gpt-4o-mini]}
"""
)
"""Without `roles`: the built-in five."""


@pytest.fixture(scope="module")
def server(emulator: Emulator, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    environ = {"OPENAI_BASE_URL": f"{emulator.url}/v1", "OPENAI_API_KEY": "sk-emulated"}
    with serving(tmp_path_factory.mktemp("management"), DOCUMENT, environ=environ) as server:
        yield server


HOLDERS = {
    "admin": ("admin", "admin"),
    "operator": ("admin", "operator"),
    "developer": ("lab", "developer"),
    "user": ("lab", "user"),
    "guest": ("lab", "guest"),
    "shop": ("shop", "user"),
    "admin of an app": ("lab", "admin"),
    "operator of an app": ("lab", "operator"),
    "nobody": ("lab", "emperor"),
}


@pytest.fixture(scope="module")
def keys(server: Gateway) -> dict[str, str | None]:
    """A key for each kind of caller; made while the server runs, which takes them up."""
    made: dict[str, str | None] = {"no key": None, "a wrong key": WRONG_KEY}
    with connect(sqlite_url(server.data_dir)) as database:
        for name, (app, role) in HOLDERS.items():
            made[name] = create_key(database, app=app, roles=[role], name=name)[1]
    eventually(lambda: server.ask("/v1/models", key=made["nobody"]).status != 401)
    return made


# health


@pytest.mark.parametrize("path", ["/health/live", "/health/ready"])
def test_probes_are_open(server: Gateway, path: str) -> None:
    for key in (None, WRONG_KEY, ADMIN_KEY):
        answer = server.ask(path, key=key)
        assert (answer.status, answer.json) == (200, {"status": "ok"})


@pytest.mark.parametrize("key", [None, WRONG_KEY, "", "x" * 3000])
def test_a_stranger_sees_the_summary_alone(server: Gateway, key: str | None) -> None:
    answer = server.ask("/api/v1/health", key=key)
    assert answer.status == 200
    assert set(answer.json) == {"status", "version", "uptime_s"}


def test_an_admin_sees_every_part(server: Gateway) -> None:
    found = server.ask("/api/v1/health").json
    assert found["components"]["database"] == "ok"
    assert set(found["components"]["providers"]) == {"openai", "keyless"}
    [keyless] = found["components"]["providers"]["keyless"].values()
    assert keyless["state"] == "unconfigured"
    assert "credential" in keyless["reason"]
    assert found["config_revision"] == 1
    assert found["uptime_s"] > 0


def test_a_target_that_fails_is_seen_and_so_is_its_recovery(server: Gateway, emulator: Emulator) -> None:
    def target() -> Any:
        return server.ask("/api/v1/health").json["components"]["providers"]["openai"]["openai/gpt-4-0613"]

    with behaving(emulator, "gpt-4-0613", "status=500"):
        server.chat()
    failing = target()
    assert (failing["state"], failing["reason"]) == ("failing", "upstream_error")
    assert failing["since"]
    assert server.ask("/api/v1/health", key=None).json["status"] == "degraded"
    assert server.ask("/health/ready").status == 200
    assert server.chat().status == 200
    well = target()
    assert (well["state"], well.get("reason")) == ("ok", None)
    assert server.ask("/api/v1/health", key=None).json["status"] == "ok"


@pytest.mark.parametrize("behaviour", ["error=invalid_value", "error=context_length_exceeded"])
def test_a_callers_mistake_is_no_failing_target(server: Gateway, emulator: Emulator, behaviour: str) -> None:
    assert server.chat().status == 200
    with behaving(emulator, "gpt-4-0613", behaviour):
        assert server.chat().status == 400
    assert server.ask("/api/v1/health").json["status"] == "ok"


def test_a_broken_stream_is_a_failing_target(server: Gateway, emulator: Emulator) -> None:
    with behaving(emulator, "gpt-4-0613", "cut_after=2"):
        server.chat(stream=True)
    assert server.ask("/api/v1/health").json["status"] == "degraded"
    assert server.chat(stream=True).status == 200
    assert server.ask("/api/v1/health").json["status"] == "ok"


# metrics

_SAMPLE = re.compile(r'([a-z_:][a-z0-9_:]*)(?:\{((?:[a-z_]+="(?:[^"\\\n]|\\.)*",?)*)\})? ([-+0-9.eEInf]+)\Z')


def samples_of(text: str) -> dict[str, list[tuple[dict[str, str], float]]]:
    """The samples of an exposition by metric. Fails on what Prometheus would refuse."""
    assert text.endswith("\n")
    types: dict[str, str] = {}
    found: dict[str, list[tuple[dict[str, str], float]]] = {}
    for line in text.splitlines():
        if line.startswith("# HELP "):
            assert len(line.split(" ", 3)) == 4
        elif line.startswith("# TYPE "):
            _, _, name, kind = line.split(" ")
            assert name not in types
            assert kind in ("counter", "gauge", "histogram")
            types[name] = kind
        else:
            match = _SAMPLE.match(line)
            assert match, line
            name, labels, value = match.groups()
            base = re.sub(r"_(bucket|sum|count)\Z", "", name)
            assert name in types or types.get(base) == "histogram", name
            pairs = dict(re.findall(r'([a-z_]+)="((?:[^"\\]|\\.)*)"', labels or ""))
            found.setdefault(name, []).append((pairs, float(value)))
    for name, samples in found.items():
        keys = [tuple(sorted(labels.items())) for labels, _ in samples]
        assert len(keys) == len(set(keys)), name
    for name, kind in types.items():
        if kind == "histogram":
            counts = [value for _, value in found[f"{name}_bucket"]]
            assert counts == sorted(counts)
            assert found[f"{name}_bucket"][-1][0]["le"] == "+Inf"
            assert counts[-1] == found[f"{name}_count"][0][1]
    return found


def test_metrics_are_an_exposition_that_prometheus_takes(server: Gateway) -> None:
    server.chat()
    server.chat("gpt-99")
    server.ask("/api/v1/chat/completions", b"{")
    server.chat(stream=True)
    answer = server.ask("/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    samples = samples_of(answer.body.decode())
    outcomes = {labels["outcome"]: labels for labels, _ in samples["dujiang_calls_total"]}
    assert {"ok", "not_found", "invalid_request"} <= set(outcomes)
    assert outcomes["ok"]["endpoint"] == "chat"


def test_counters_only_grow_and_count_each_call_once(server: Gateway) -> None:
    def calls() -> float:
        return sum(value for _, value in samples_of(server.ask("/metrics").body.decode())["dujiang_calls_total"])

    before = calls()
    for _ in range(3):
        server.chat()
    server.chat(stream=True)
    server.chat("gpt-99")
    server.ask("/api/v1/chat/completions", {}, key=None)
    assert calls() == before + 5


def test_no_caller_can_make_labels(server: Gateway) -> None:
    """Names out of bodies would let anybody fill the memory of Prometheus."""
    before = len(server.ask("/metrics").body)
    for n in range(50):
        server.chat(f"made-up-{n}")
        server.ask("/api/v1/chat/completions", {"model": "gpt-4", "parameters": {"prompt": "a", f"x{n}": 1}})
        server.ask("/v1/chat/completions", {"model": f'm{n}\n"}} 1', "messages": [{"role": "user", "content": "a"}]})
    answer = server.ask("/metrics")
    samples_of(answer.body.decode())
    assert "made-up" not in answer.body.decode()
    assert len(answer.body) < before + 2000


def test_metrics_may_be_opened(emulator: Emulator, tmp_path: Path) -> None:
    with serving(
        tmp_path,
        DOCUMENT,
        environ={"OPENAI_BASE_URL": f"{emulator.url}/v1", "OPENAI_API_KEY": "sk-x"},
        arguments=("--open-metrics",),
    ) as server:
        assert server.ask("/metrics", key=None).status == 200
        assert server.ask("/metrics", key=WRONG_KEY).status == 200
        assert set(server.ask("/api/v1/health", key=None).json) == {"status", "version", "uptime_s"}


# documentation


@pytest.fixture(scope="module")
def schema(server: Gateway) -> Any:
    answer = server.ask("/openapi.json", key=None)
    assert answer.status == 200
    return answer.json


def test_the_schema_describes_both_chat_endpoints(schema: Any) -> None:
    assert schema["openapi"].startswith("3.1")
    for path in ("/api/v1/chat/completions", "/v1/chat/completions"):
        operation = schema["paths"][path]["post"]
        reference = operation["requestBody"]["content"]["application/json"]["schema"]["$ref"]
        body = schema["components"]["schemas"][reference.rsplit("/", 1)[1]]
        assert "model" in body["properties"]
        assert {"200", "400", "401", "429", "503"} <= set(operation["responses"])
        assert operation["security"]


def test_every_reference_of_the_schema_leads_somewhere(schema: Any) -> None:
    names = set(re.findall(r'"#/components/schemas/([^"]+)"', json.dumps(schema)))
    assert names
    assert names <= set(schema["components"]["schemas"])
    schemes = {
        name
        for path in schema["paths"].values()
        for operation in path.values()
        for each in operation.get("security", ())
        for name in each
    }
    assert schemes <= set(schema["components"]["securitySchemes"])


def test_operation_ids_are_unique_and_every_operation_has_a_summary(schema: Any) -> None:
    operations = [operation for path in schema["paths"].values() for operation in path.values()]
    ids = [operation["operationId"] for operation in operations]
    assert len(ids) == len(set(ids))
    assert all(operation.get("summary") for operation in operations)


def test_the_schema_has_every_route(server: Gateway, schema: Any) -> None:
    expected = {
        "/api/v1/chat/completions",
        "/v1/chat/completions",
        "/v1/models",
        "/v1/models/{model}",
        "/api/v1/health",
        "/health/live",
        "/health/ready",
        "/metrics",
    }
    assert expected <= set(schema["paths"])
    for path, operations in schema["paths"].items():
        for method in operations:
            target = path.replace("{model}", "gpt-4").replace("{id}", "stats")
            body = b"{}" if method == "post" else None
            answer = server.ask(target, body, method=method.upper())
            is_lost = answer.status == 404 and answer.json["error"]["reason"] is None
            assert not is_lost, (method, path)
            assert answer.status != 405, (method, path)


def test_the_documentation_is_served_by_us_alone(server: Gateway) -> None:
    page = server.ask("/docs", key=None)
    assert page.status == 200
    text = page.body.decode()
    assert re.findall(r"(?:https?:)?//[\w.-]+", text) == []
    links = re.findall(r'(?:src|href)="([^"]+)"', text)
    assert len(links) >= 3
    for link in links:
        asset = server.ask(link, key=None)
        assert asset.status == 200, link
        assert len(asset.body) > 100
        assert asset.headers["content-type"].split(";")[0] in ("text/javascript", "text/css", "image/png")
    assert "/openapi.json" in text


@pytest.mark.parametrize("name", ["", "x", "../__init__.py", "..%2f__init__.py", "swagger-ui.css/", "index.html"])
def test_no_other_file_is_served(server: Gateway, name: str) -> None:
    assert server.ask(f"/docs/assets/{name}", key=None).status == 404


# what is not there


@pytest.mark.parametrize("key", [ADMIN_KEY, None])
@pytest.mark.parametrize("path", ["/v1/nothing", "/v1/models/a/b", "/v1/chat/completions/x", "/v1/"])
def test_nothing_under_v1_answers_in_openais_words(server: Gateway, path: str, key: str | None) -> None:
    answer = server.ask(path, key=key)
    assert answer.status == (401 if key is None and "models" in path else 404)
    assert set(answer.json["error"]) == {"message", "type", "param", "code"}


@pytest.mark.parametrize("path", ["/", "/nothing", "/api", "/api/v1/", "/api/v1/chat", "/v1x", "/console/"])
def test_nothing_elsewhere_answers_in_the_native_envelope(server: Gateway, path: str) -> None:
    answer = server.ask(path, key=None)
    assert answer.status == 404
    assert answer.json["code"] == 404
    assert answer.json["data"] is None
    assert answer.json["request_id"] == answer.headers["x-request-id"]


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/health/live"),
        ("DELETE", "/api/v1/health"),
        ("POST", "/metrics"),
        ("PUT", "/v1/models"),
        ("POST", "/openapi.json"),
    ],
)
def test_a_method_that_is_not_there(server: Gateway, method: str, path: str) -> None:
    answer = server.ask(path, b"{}", method=method)
    assert answer.status == 405
    assert answer.headers["allow"]
    error = answer.json["error"]
    assert error["code" if path.startswith("/v1/") else "type"] == "method_not_allowed"


def test_a_model_with_a_slash_is_found_by_its_name(server: Gateway) -> None:
    assert server.ask("/v1/models/gpt-4").json["id"] == "gpt-4"
    missing = server.ask("/v1/models/org/none")
    assert (missing.status, missing.json["error"]["code"]) == (404, "model_not_found")


def test_a_stranger_learns_nothing_about_what_exists(server: Gateway) -> None:
    answers = [server.ask(path, key=None) for path in ("/v1/models/gpt-4", "/v1/models/none", "/v1/models")]
    assert {answer.status for answer in answers} == {401}
    assert len({answer.json["error"]["message"] for answer in answers}) == 1


# who may do what

OPEN = {"/health/live", "/health/ready", "/api/v1/health", "/openapi.json", "/docs"}
ALLOWED = {
    "/metrics": {"admin"},
    "/v1/models": {"admin", "developer", "user", "guest", "shop", "admin of an app"},
    "chat gpt-4": {"admin", "developer", "admin of an app"},
    "chat gpt-4o-mini": {"admin", "developer", "user", "shop", "admin of an app"},
    "components": {"admin", "operator"},
}


def attempt(server: Gateway, what: str, key: str | None) -> Answer:
    if what.startswith("chat "):
        body = {"model": what.split()[1], "messages": [{"role": "user", "content": "hi"}]}
        return server.ask("/v1/chat/completions", body, key=key)
    return server.ask(what, key=key)


@pytest.mark.parametrize("what", [what for what in ALLOWED if what != "components"])
def test_each_route_for_each_kind_of_caller(server: Gateway, keys: dict[str, str | None], what: str) -> None:
    found = {name: attempt(server, what, key).status for name, key in keys.items()}
    strangers = {"no key", "a wrong key"}
    expected = {name: 200 if name in ALLOWED[what] else 401 if name in strangers else 403 for name in keys}
    assert found == expected


def test_components_for_each_kind_of_caller(server: Gateway, keys: dict[str, str | None]) -> None:
    seen = {name for name, key in keys.items() if "components" in server.ask("/api/v1/health", key=key).json}
    assert seen == ALLOWED["components"]


def test_the_list_of_models_is_what_may_be_asked(server: Gateway, keys: dict[str, str | None]) -> None:
    def models(name: str) -> set[str]:
        return {model["id"] for model in server.ask("/v1/models", key=keys[name]).json["data"]}

    assert models("admin") >= {"gpt-4", "gpt-4o-mini"}
    assert models("user") == models("shop") == {"gpt-4o-mini"}
    assert models("guest") == set()
    assert server.ask("/v1/models/gpt-4", key=keys["user"]).status == 404


def test_nothing_but_what_is_open_answers_without_a_key(server: Gateway) -> None:
    """Every route of the application, with every method."""
    routes = set(walk())
    assert len(routes) > 60
    for method, path in routes:
        answer = server.ask(path, b"{}" if method != "GET" else None, method=method, key=None)
        is_open = path in OPEN or path.startswith("/docs/assets/")
        assert answer.status == (200 if is_open else 401), (method, path)


def walk() -> Iterator[tuple[str, str]]:
    """Method and path of everything that is routed."""
    routes: list[Any] = [*create_management(None).routes]
    while routes:
        route = routes.pop()
        if hasattr(route, "original_router"):  # how FastAPI keeps what was included
            routes.extend(route.original_router.routes)
        for method in getattr(route, "methods", None) or ():
            path = route.path.replace("{rest:path}", "x").replace("{model:path}", "gpt-4")
            yield method, path.replace("{name}", "favicon.png")
    yield from (("POST", "/api/v1/chat/completions"), ("POST", "/v1/chat/completions"))
