"""Every route, for every permission and role, in its own app and in another: one table of what is expected.

A route that is not in the table fails the suite: whoever adds one says here who may use it.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from http.client import HTTPConnection
from typing import Any, Literal

import pytest
from configured import patch
from fastapi.routing import iter_route_contexts
from gateway import ADMIN_KEY, Gateway, eventually, serving

from dujiang.api.management import create_management
from dujiang.api.unbuilt import UNBUILT
from dujiang.emulator.server import Emulator
from dujiang.identity.keys import create_key
from dujiang.identity.permissions import PERMISSIONS, PLATFORM_ONLY
from dujiang.storage.database import connect, sqlite_url

Scope = Literal["open", "any", "own", "platform", "shared"]


@dataclass(frozen=True)
class Rule:
    """Who may use a route.

    `open`: everybody; `any`: whoever has a key; `own`: who has the permission, for what is their app's; `platform`: who
    has it, with a key of the app `admin`; `shared`: who has it, since there is no owner. Of `permissions` one is
    enough; `and_also` is needed beside it. `object` is what stands for `{id}` and its like.
    """

    scope: Scope
    permission: str | tuple[str, ...] = ()
    object: str = ""
    and_also: str | None = None

    @property
    def permissions(self) -> frozenset[str]:
        return frozenset((self.permission,) if isinstance(self.permission, str) else self.permission)

    def is_open_to(self, app: str, held: frozenset[str]) -> bool:
        if self.scope in ("open", "any"):
            return True
        is_held = bool(self.permissions & held) and (self.and_also is None or self.and_also in held)
        return is_held and (self.scope != "platform" or app == "admin")


READING_RECORDS = ("records:read", "records:read_own")
RULES: dict[tuple[str, str], Rule] = {
    ("GET", "/openapi.json"): Rule("open"),
    ("GET", "/docs"): Rule("open"),
    ("GET", "/docs/assets/{name}"): Rule("open", object="favicon.png"),
    ("GET", "/health/live"): Rule("open"),
    ("GET", "/health/ready"): Rule("open"),
    ("GET", "/api/v1/health"): Rule("open"),
    ("GET", "/api/v1/me"): Rule("any"),
    ("GET", "/metrics"): Rule("platform", "metrics:read"),
    ("POST", "/api/v1/chat/completions"): Rule("shared", "chat:call"),
    ("POST", "/v1/chat/completions"): Rule("shared", "chat:call"),
    ("GET", "/v1/models"): Rule("shared", "chat:call"),
    ("GET", "/v1/models/{model:path}"): Rule("shared", "chat:call", "m"),
    ("GET", "/api/v1/records"): Rule("own", READING_RECORDS),
    ("GET", "/api/v1/records/stats"): Rule("own", READING_RECORDS),
    ("GET", "/api/v1/records/export"): Rule("own", READING_RECORDS, and_also="records:export"),
    ("GET", "/api/v1/records/in-flight"): Rule("own", READING_RECORDS),
    ("GET", "/api/v1/records/{id}"): Rule("own", READING_RECORDS, "record"),
    ("GET", "/api/v1/config"): Rule("platform", "config:read"),
    ("PUT", "/api/v1/config"): Rule("platform", "config:write"),
    ("PATCH", "/api/v1/config"): Rule("platform", "config:write"),
    ("POST", "/api/v1/config/validate"): Rule("platform", "config:write"),
    ("GET", "/api/v1/config/revisions"): Rule("platform", "config:read"),
    ("GET", "/api/v1/config/revisions/{revision}"): Rule("platform", "config:read", "1"),
    ("GET", "/api/v1/config/diff"): Rule("platform", "config:read"),
    ("POST", "/api/v1/config/revisions/{revision}/rollback"): Rule("platform", "config:write", "999999"),
    ("GET", "/api/v1/config/schema"): Rule("platform", "config:read"),
    ("GET", "/api/v1/config/audit"): Rule("platform", "config:read"),
    ("GET", "/api/v1/apps"): Rule("own", "apps:read"),
    ("POST", "/api/v1/apps"): Rule("platform", "apps:write"),
    ("GET", "/api/v1/apps/{id}"): Rule("own", "apps:read", "app"),
    ("PATCH", "/api/v1/apps/{id}"): Rule("platform", "apps:write", "app"),
    ("DELETE", "/api/v1/apps/{id}"): Rule("platform", "apps:write", "nothing"),
    ("GET", "/api/v1/roles"): Rule("platform", "roles:read"),
    ("POST", "/api/v1/roles"): Rule("platform", "roles:write"),
    ("GET", "/api/v1/roles/{id}"): Rule("platform", "roles:read", "guest"),
    ("PATCH", "/api/v1/roles/{id}"): Rule("platform", "roles:write", "guest"),
    ("DELETE", "/api/v1/roles/{id}"): Rule("platform", "roles:write", "nothing"),
    ("GET", "/api/v1/models"): Rule("shared", "models:read"),
    ("POST", "/api/v1/models"): Rule("platform", "models:write"),
    ("GET", "/api/v1/models/{id:path}"): Rule("shared", "models:read", "m"),
    ("PATCH", "/api/v1/models/{id:path}"): Rule("platform", "models:write", "m"),
    ("DELETE", "/api/v1/models/{id:path}"): Rule("platform", "models:write", "nothing"),
    ("GET", "/api/v1/targets"): Rule("platform", "health:read"),
    ("POST", "/api/v1/targets/drain"): Rule("platform", "models:write"),
    ("POST", "/api/v1/targets/eject"): Rule("platform", "models:write"),
    ("POST", "/api/v1/targets/restore"): Rule("platform", "models:write"),
    ("POST", "/api/v1/routing/explain"): Rule("shared", "routing:read"),
    ("GET", "/api/v1/scenes"): Rule("own", "scenes:read"),
    ("POST", "/api/v1/scenes"): Rule("own", "scenes:write"),
    ("POST", "/api/v1/scenes/import"): Rule("own", "scenes:write"),
    ("GET", "/api/v1/scenes/{id}"): Rule("own", "scenes:read", "scene"),
    ("PATCH", "/api/v1/scenes/{id}"): Rule("own", "scenes:write", "scene"),
    ("DELETE", "/api/v1/scenes/{id}"): Rule("own", "scenes:write", "spare_scene"),
    ("GET", "/api/v1/scenes/{id}/versions"): Rule("own", "scenes:read", "scene"),
    ("POST", "/api/v1/scenes/{id}/versions"): Rule("own", "scenes:write", "scene"),
    ("GET", "/api/v1/scenes/{id}/versions/{version}"): Rule("own", "scenes:read", "scene"),
    ("DELETE", "/api/v1/scenes/{id}/versions/{version}"): Rule("own", "scenes:write", "scene"),
    ("POST", "/api/v1/scenes/{id}/publish"): Rule("own", "scenes:write", "scene"),
    ("GET", "/api/v1/scenes/{id}/history"): Rule("own", "scenes:read", "scene"),
    ("POST", "/api/v1/scenes/{id}/restore"): Rule("own", "scenes:write", "scene"),
    ("POST", "/api/v1/scenes/{id}/render"): Rule("own", "scenes:read", "scene"),
    ("GET", "/api/v1/scenes/{id}/export"): Rule("own", "scenes:read", "scene"),
    ("GET", "/api/v1/keys"): Rule("own", "keys:read"),
    ("POST", "/api/v1/keys"): Rule("own", "keys:write"),
    ("GET", "/api/v1/keys/{id}"): Rule("own", "keys:read", "key"),
    ("PATCH", "/api/v1/keys/{id}"): Rule("own", "keys:write", "key"),
    ("POST", "/api/v1/keys/{id}/rotate"): Rule("own", "keys:write", "key"),
    ("DELETE", "/api/v1/keys/{id}"): Rule("own", "keys:write", "key"),
    ("GET", "/api/v1/users"): Rule("own", "users:read"),
    ("PATCH", "/api/v1/users/{app}/{id:path}"): Rule("own", "users:write", "user"),
    ("GET", "/api/v1/budgets"): Rule("own", "budgets:read"),
    ("POST", "/api/v1/budgets"): Rule("own", "budgets:write"),
    ("GET", "/api/v1/budgets/{id}"): Rule("own", "budgets:read", "budget"),
    ("PATCH", "/api/v1/budgets/{id}"): Rule("own", "budgets:write", "budget"),
    ("DELETE", "/api/v1/budgets/{id}"): Rule("own", "budgets:write", "spare_budget"),
    ("POST", "/api/v1/budgets/{id}/corrections"): Rule("own", "budgets:write", "budget"),
}
APPS = ("admin", "shop", "lab")
ROLES = ("admin", "operator", "developer", "user", "guest")
NOWHERE = "00000000-0000-7000-8000-000000000000"

DOCUMENT = {
    "providers": {
        "openai": {
            "kind": "openai",
            "base_url": "${OPENAI_BASE_URL}",
            "allow_private_network": True,
            "credentials": [{"name": "main", "secret": "${OPENAI_API_KEY}"}],
        }
    },
    "models": {"m": {"targets": [{"provider": "openai", "model": "ok"}]}},
    "scenes": {
        f"{kind}_{app}": {"apps": [app], "versions": [{"version": 1, "system": "hi"}]}
        for kind in ("scene", "spare")
        for app in ("shop", "lab")
    },
    "apps": {"shop": {}, "lab": {}},
    "budgets": [
        {"subject": f"app:{app}", "amount": 100, "currency": "CNY", "per": per}
        for app in ("shop", "lab")
        for per in ("day", "month")
    ],
    "roles": {
        "admin": {"permissions": ["*"]},
        "operator": {"permissions": ["records:read", "health:read", "config:read", "models:read", "cache:*"]},
        "developer": {"permissions": ["chat:call", "schedule:call", "scenes:*", "records:read_own", "models:read"]},
        "user": {"permissions": ["chat:call", "schedule:call"]},
        "guest": {"permissions": ["chat:call"]},
        **{f"only-{permission.replace(':', '-')}": {"permissions": [permission]} for permission in PERMISSIONS},
    },
}


BODIES: dict[tuple[str, str], Any] = {
    ("POST", "/api/v1/chat/completions"): {"model": "m", "parameters": {"prompt": "hi"}},
    ("POST", "/v1/chat/completions"): {"model": "m", "messages": [{"role": "user", "content": "hi"}]},
    ("POST", "/api/v1/scenes/{id}/publish"): {"label": "production", "version": 1},
    ("POST", "/api/v1/scenes/{id}/restore"): {"revision": 1},
    ("POST", "/api/v1/scenes/{id}/render"): {"prompt": "hi"},
    ("POST", "/api/v1/config/validate"): DOCUMENT,
    ("POST", "/api/v1/budgets/{id}/corrections"): {"amount": 1, "reason": "a test"},
}
"""Where `{}` would be refused before anybody asks whose it is."""


@dataclass
class House:
    """A server with a key for each role in each app, and objects of each app."""

    server: Gateway
    keys: dict[tuple[str, str], str]
    objects: dict[str, dict[str, str]]

    def permissions(self, app: str, role: str) -> frozenset[str]:
        """What a key holds, reckoned apart from the product's own reckoning."""
        patterns: list[str] = DOCUMENT["roles"][role]["permissions"]
        held = {each for each in PERMISSIONS for pattern in patterns if _means(pattern, each)}
        return frozenset(held if app == "admin" else held - PLATFORM_ONLY)

    def ask(self, method: str, path: str, key: str | None, body: Any = None) -> tuple[int, bytes]:
        connection = HTTPConnection("127.0.0.1", self.server.port, timeout=30)
        try:
            fields = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {key}"} if key else {})
            connection.request(method, path, None if method == "GET" else json.dumps(body or {}).encode(), fields)
            with connection.getresponse() as response:
                return response.status, response.read()
        finally:
            connection.close()


def _names(value: str) -> str:
    return value.replace("/api/v1/", "").replace("/", " ")


def _means(pattern: str, permission: str) -> bool:
    return pattern in {"*", permission} or (pattern.endswith(":*") and permission.startswith(pattern[:-1]))


@pytest.fixture(scope="module")
def house(emulator: Emulator, tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    environ = {"OPENAI_BASE_URL": f"{emulator.url}/v1", "OPENAI_API_KEY": "sk-emulated"}
    text = json.dumps(DOCUMENT)
    with serving(tmp_path_factory.mktemp("routes"), text, environ=environ) as server:
        keys: dict[tuple[str, str], str] = {}
        objects: dict[str, dict[str, str]] = {app: {} for app in APPS}
        with connect(sqlite_url(server.data_dir)) as database:
            for app in APPS:
                for role in DOCUMENT["roles"]:
                    _, keys[app, role] = create_key(database, app=app, roles=[role])
                objects[app]["key"], _ = create_key(database, app=app, roles=["guest"])
        eventually(lambda: server.ask("/api/v1/me", key=keys["lab", "guest"]).status == 200)
        for app in ("shop", "lab"):
            body = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
            assert server.ask("/v1/chat/completions", body, key=keys[app, "guest"]).status == 200
            records = f"/api/v1/records?app={app}"
            eventually(lambda records=records: server.ask(records).json["items"] != [])
            objects[app]["record"] = server.ask(records).json["items"][0]["id"]
            objects[app] |= {
                "app": app,
                "user": f"{app}/person-of-{app}",
                "scene": f"scene_{app}",
                "spare_scene": f"spare_{app}",
            }
        for each in server.ask("/api/v1/budgets").json["items"]:
            app = each["subject"].removeprefix("app:")
            objects[app]["budget" if each["per"] == "day" else "spare_budget"] = each["id"]
        objects["admin"] |= {name: id for name, id in objects["lab"].items() if name != "key"}
        yield House(server, keys, objects)


def routed() -> set[tuple[str, str]]:
    """Method and path of everything that is routed, but for what is not built."""
    found = {
        (method, str(context.path))
        for context in iter_route_contexts(create_management(None).routes)
        for method in getattr(context, "methods", None) or ()
        if method != "HEAD"
    }
    unbuilt = {(method, path) for method, path in found if path.removesuffix("/{rest:path}") in UNBUILT}
    return found - unbuilt | {("POST", "/api/v1/chat/completions"), ("POST", "/v1/chat/completions")}


def test_the_table_has_every_route_and_no_other():
    assert routed() == set(RULES)


def test_every_permission_opens_something_or_waits_for_what_is_not_built():
    used = frozenset[str]().union(*(rule.permissions | {rule.and_also} for rule in RULES.values()))
    waiting = {"schedule:call", "feedback:write", "cache:read", "cache:write"}
    within = {"records:content"}  # it shows more on a page that others see too
    assert PERMISSIONS - used == waiting | within


def place(path: str, rule: Rule, object: str) -> str:
    """The path with an object in its place."""
    if "{app}/{id:path}" in path:
        return path.replace("{app}/{id:path}", object)
    return re.sub(r"\{(?:id|model|name|revision)(?::path)?\}", object, path).replace("{version}", "1")


@pytest.mark.parametrize(("method", "path"), sorted(RULES), ids=_names)
def test_each_route_for_each_role_in_its_own_app(house: House, method: str, path: str) -> None:
    rule, body = RULES[method, path], BODIES.get((method, path))
    wrong: list[tuple[str, str, int]] = []
    for (app, role), key in house.keys.items():
        is_open = rule.is_open_to(app, house.permissions(app, role))
        own = house.objects[app].get(rule.object, rule.object)
        if is_open and rule.object and (method == "DELETE" or rule.object == "key"):
            own = NOWHERE  # what is there stays
        status, _ = house.ask(method, place(path, rule, own), key, body)
        is_right = status not in (401, 403) and status < 500 if is_open else status == 403
        if not is_right:
            wrong.append((app, role, status))
    assert wrong == []
    stranger, _ = house.ask(method, place(path, rule, house.objects["lab"].get(rule.object, rule.object)), None, body)
    assert stranger == 401 or rule.scope == "open"


OWNED = sorted(route for route, rule in RULES.items() if rule.scope == "own" and rule.object)


@pytest.mark.parametrize(("method", "path"), OWNED, ids=_names)
def test_what_is_another_app_s_is_not_there(house: House, method: str, path: str) -> None:
    """With the very words that answer for what nobody has; every permission that an app can hold is held."""
    rule = RULES[method, path]
    key = house.keys["shop", "admin"]
    foreign = house.objects["lab"][rule.object]
    absent = "lab/person-of-none" if rule.object == "user" else NOWHERE
    answers: list[tuple[int, bytes]] = []
    for object in (foreign, absent):
        status, body = house.ask(method, place(path, rule, object), key, BODIES.get((method, path)))
        name = object.rpartition("/")[2]
        told = re.sub(rb'"(request_id|timestamp)":("[^"]*"|\d+)', b"", body.replace(name.encode(), b"?"))
        answers.append((status, told))
    assert answers[0] == answers[1]
    assert answers[0][0] == 404


LISTS = sorted(
    path for (method, path), rule in RULES.items() if (method, rule.scope, rule.object) == ("GET", "own", "")
)


@pytest.mark.parametrize("path", LISTS)
def test_no_list_has_what_is_another_app_s(house: House, path: str) -> None:
    status, body = house.ask("GET", path, house.keys["shop", "admin"])
    assert status == 200
    foreign = house.objects["lab"]
    for name in ("key", "record", "scene", "budget", "spare_budget"):
        assert foreign[name].encode() not in body, name
    assert b'"lab"' not in body
    assert b"lab/" not in body


def test_filters_by_another_app_find_nothing(house: House) -> None:
    for path in ("/api/v1/records?app=lab", "/api/v1/keys?app=lab", "/api/v1/users?app=lab"):
        status, body = house.ask("GET", path, house.keys["shop", "admin"])
        assert (status, json.loads(body)["items"]) == (200, []), path


def test_nothing_was_changed_by_those_who_may_not(house: House) -> None:
    server = house.server
    assert set(server.ask("/api/v1/apps").json["items"][0]) >= {"id"}
    assert {each["id"] for each in server.ask("/api/v1/apps").json["items"]} >= {"shop", "lab"}
    revoked = [each["id"] for each in server.ask("/api/v1/keys?limit=200").json["items"] if each["revoked_at"]]
    assert revoked == []
    assert patch(server, {"apps": {"shop": {"description": "still here"}}}, key=ADMIN_KEY).status == 200
