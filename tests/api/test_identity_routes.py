"""Keys, users and the caller's own page over HTTP: who may do what, to whose, and what nobody may say."""

from collections.abc import Iterator
from typing import Any

import pytest
from configured import audited
from gateway import ADMIN_KEY, Answer, Gateway, eventually, serving

from dujiang.config.tables import changes, entries, revisions
from dujiang.emulator.server import Emulator
from dujiang.identity.keys import create_key
from dujiang.identity.tables import keys as keys_table
from dujiang.identity.tables import users as users_table
from dujiang.storage.database import connect, sqlite_url
from dujiang.storage.tables import audit, secrets

KEYS, USERS, ME = "/api/v1/keys", "/api/v1/users", "/api/v1/me"
PROXIES = "127.0.0.0/8,10.0.0.0/8"
DOCUMENT = """
providers:
  openai: {kind: openai, base_url: "${OPENAI_BASE_URL}", allow_private_network: true,
           credentials: [{name: main, secret: "${OPENAI_API_KEY}"}]}
models:
  gpt-4: {targets: [{provider: openai, model: gpt-4-0613}]}
  lab-7b: {targets: [{provider: openai, model: lab-7b-chat}]}
apps: {shop: {}, lab: {}}
scenes: {open: {versions: [{version: 1, system: hi}]}, dark: {versions: [{version: 1, system: hi}]}}
roles:
  admin: {permissions: ["*"]}
  clerk: {permissions: ["keys:*", "users:*", "chat:call"]}
  user: {permissions: ["chat:call"], limits: {max_tokens: 100}}
  warden: {permissions: ["keys:read", "users:read"]}
"""


@pytest.fixture(scope="module")
def house(emulator: Emulator, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    environ = {"OPENAI_BASE_URL": f"{emulator.url}/v1", "OPENAI_API_KEY": "sk-x", "DUJIANG_TRUSTED_PROXIES": PROXIES}
    with serving(tmp_path_factory.mktemp("identity"), DOCUMENT, environ=environ) as gateway:
        yield gateway


@pytest.fixture(scope="module")
def holders(house: Gateway) -> dict[str, str]:
    """Secrets by what their holders are."""
    wanted = {"boss": ("shop", "admin"), "clerk": ("shop", "clerk"), "user": ("shop", "user"), "lab": ("lab", "admin")}
    with connect(sqlite_url(house.data_dir)) as database:
        made = {name: create_key(database, app=app, roles=[role])[1] for name, (app, role) in wanted.items()}
    eventually(lambda: all(house.ask(ME, key=key).status == 200 for key in made.values()))
    return made


def make(house: Gateway, key: str = ADMIN_KEY, **fields: Any) -> Any:
    answer = house.ask(KEYS, {"app": "shop", "roles": ["user"], **fields}, key=key)
    assert answer.status == 201, answer.json
    return answer.json


def chat(house: Gateway, key: str, model: str = "gpt-4", headers: dict[str, str] | None = None, **body: Any) -> Answer:
    sent = {"model": model, "parameters": {"prompt": "hi"}, **body}
    return house.ask("/api/v1/chat/completions", sent, key=key, headers=headers)


def reason(answer: Answer) -> tuple[int, str | None]:
    return answer.status, answer.json["error"]["reason"]


# a key's life


def test_a_key_works_at_once_and_ends_at_once(house: Gateway) -> None:
    made = make(
        house,
        name="till",
        models=["gpt-*"],
        limits={"rpm": 100},
        budget={"amount": "1.5", "currency": "CNY", "per": "day"},
    )
    assert made["key"].startswith("dj-")
    assert made["budget"] == {"amount": 1.5, "currency": "CNY", "per": "day"}
    assert made["limits"] == {"rpm": 100, "tpm": None, "concurrency": None, "max_tokens": None}
    assert chat(house, made["key"]).status == 200
    assert reason(chat(house, made["key"], "lab-7b")) == (403, "model")
    shown = house.ask(f"{KEYS}/{made['id']}").json
    assert shown == {name: value for name, value in made.items() if name != "key"}
    patched = house.ask(f"{KEYS}/{made['id']}", {"models": ["lab-7b"], "limits": {"tpm": 5}}, method="PATCH").json
    assert (patched["limits"]["rpm"], patched["limits"]["tpm"], patched["name"]) == (100, 5, "till")
    assert reason(chat(house, made["key"])) == (403, "model")
    assert chat(house, made["key"], "lab-7b").status == 200
    rotated = house.ask(f"{KEYS}/{made['id']}/rotate", {"overlap_s": 60}).json
    assert house.ask(ME, key=made["key"]).json["key_id"] == house.ask(ME, key=rotated["key"]).json["key_id"]
    again = house.ask(f"{KEYS}/{made['id']}/rotate", {}).json
    assert [house.ask(ME, key=each["key"]).status for each in (made, rotated, again)] == [401, 401, 200]
    assert house.ask(f"{KEYS}/{made['id']}", method="DELETE").status == 204
    assert house.ask(ME, key=again["key"]).status == 401
    assert chat(house, again["key"], "lab-7b").status == 401
    assert house.ask(f"{KEYS}/{made['id']}", method="DELETE").status == 204
    assert reason(house.ask(f"{KEYS}/{made['id']}", {"name": "x"}, method="PATCH")) == (409, "revoked")
    assert house.ask(f"{KEYS}/{made['id']}").json["revoked_at"]
    assert audited(house)[:4] == [
        ("revoke", "applied"),
        ("rotate", "applied"),
        ("rotate", "applied"),
        ("change", "applied"),
    ]
    row = house.ask("/api/v1/config/audit?limit=1").json["items"][0]
    assert (row["subject"], row["before"]["revoked_at"]) == (f"keys.{made['id']}", None)
    for secret in (made["key"], rotated["key"], again["key"]):
        assert secret[11:] not in house.ask("/api/v1/config/audit?limit=200").body.decode()


def test_a_key_s_longest_answer_holds_beside_its_roles(house: Gateway) -> None:
    made = make(house, limits={"max_tokens": 10})
    asked = {"prompt": "hi", "max_tokens": 11}
    assert reason(chat(house, made["key"], parameters=asked)) == (400, "max_tokens")
    assert house.ask(ME, key=made["key"]).json["limits"]["max_tokens"] == 10


def test_pages_of_keys(house: Gateway) -> None:
    wanted = {make(house, app="lab")["id"] for _ in range(5)}
    seen: list[str] = []
    cursor = ""
    while True:
        page = house.ask(f"{KEYS}?app=lab&limit=2{cursor}").json
        seen += [item["id"] for item in page["items"]]
        assert all("key" not in item and item["app"] == "lab" for item in page["items"])
        if page["next_cursor"] is None:
            break
        cursor = f"&cursor={page['next_cursor']}"
    assert wanted <= set(seen)
    assert len(seen) == len(set(seen))
    assert house.ask(f"{KEYS}?limit=0").status == 400


def test_every_key_may_ask_who_it_is(house: Gateway, holders: dict[str, str]) -> None:
    me = house.ask(ME, key=holders["user"]).json
    assert (me["app"], me["roles"], me["permissions"], me["budgets"]) == ("shop", ["user"], ["chat:call"], [])
    assert (me["models"], me["scenes"], me["limits"]["max_tokens"]) == (["*"], ["*"], 100)
    assert house.ask(ME, key=None).status == 401


# who may do what


def test_nobody_makes_what_they_do_not_hold(house: Gateway, holders: dict[str, str]) -> None:
    assert make(house, holders["clerk"])["created_by"] == house.ask(ME, key=holders["clerk"]).json["key_id"]
    for fields, status in (
        ({"roles": ["admin"]}, 403),
        ({"app": "lab"}, 403),
        ({"app": "admin"}, 403),
        ({"app": "nowhere"}, 403),
        ({"roles": ["emperor"]}, 422),
    ):
        answer = house.ask(KEYS, {"app": "shop", "roles": ["user"], **fields}, key=holders["clerk"])
        assert answer.status == status, fields
        if status == 403:
            assert answer.json["error"]["reason"] == "grant"
            assert audited(house)[0] == ("create", "refused")
    unknown = house.ask(KEYS, {"app": "nowhere", "roles": ["user"]})
    assert (unknown.status, unknown.json["error"]["param"]) == (422, "app")
    assert "nowhere" in unknown.json["message"]
    assert reason(house.ask(KEYS, {"app": "shop", "roles": ["user"]}, key=holders["user"])) == (403, "permission")


def test_an_apps_admin_cannot_take_over_the_platforms_or_a_wider_key(house: Gateway, holders: dict[str, str]) -> None:
    platform = house.ask(ME).json["key_id"]
    boss = house.ask(ME, key=holders["boss"]).json["key_id"]
    for key, id, status in ((holders["boss"], platform, 404), (holders["clerk"], boss, 403)):
        for method, path, body in (("PATCH", "", {"name": "mine"}), ("POST", "/rotate", {}), ("DELETE", "", None)):
            answer = house.ask(f"{KEYS}/{id}{path}", body, method=method, key=key)
            assert answer.status == status, (method, answer.json)
    assert (
        house.ask(
            f"{KEYS}/{house.ask(ME, key=holders['clerk']).json['key_id']}/rotate",
            {"overlap_s": 600},
            key=holders["clerk"],
        ).status
        == 200
    )


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", KEYS + "/{}", None),
        ("PATCH", KEYS + "/{}", {"name": "x"}),
        ("PATCH", KEYS + "/{}", {"name": 7}),
        ("POST", KEYS + "/{}/rotate", {}),
        ("DELETE", KEYS + "/{}", None),
        ("PATCH", USERS + "/lab/{}", {"blocked": True}),
    ],
)
def test_what_belongs_to_another_app_is_as_good_as_absent(
    house: Gateway, holders: dict[str, str], method: str, path: str, body: Any
) -> None:
    theirs = house.ask(ME, key=holders["lab"]).json["key_id"]
    assert house.ask(f"{USERS}/lab/{theirs}", {"blocked": False}, method="PATCH").status == 200
    answers = [
        house.ask(path.format(id), body, method=method, key=holders["boss"])
        for id in (theirs, "01900000-0000-7000-8000-000000000000")
    ]
    assert [answer.status for answer in answers] == [404, 404]
    said = [answer.json for answer in answers]
    for answer, id in zip(said, (theirs, "01900000-0000-7000-8000-000000000000"), strict=True):
        answer["message"] = answer["message"].replace(id, "ID")
        del answer["request_id"], answer["timestamp"]
    assert said[0] == said[1]


@pytest.mark.parametrize("path", [KEYS, USERS])
def test_lists_tell_of_no_other_app(house: Gateway, holders: dict[str, str], path: str) -> None:
    make(house, app="lab")
    assert house.ask(f"{USERS}/lab/somebody", {}, method="PATCH").status == 200
    own = house.ask(f"{path}?limit=200", key=holders["boss"]).json["items"]
    assert {item["app"] for item in own} <= {"shop"}
    assert (
        house.ask(f"{path}?app=lab", key=holders["boss"]).json
        == house.ask(f"{path}?app=none", key=holders["boss"]).json
    )
    assert {item["app"] for item in house.ask(f"{path}?app=lab&limit=200").json["items"]} == {"lab"}


# what nobody may say

COLUMNS = {
    column.name
    for table in (keys_table, users_table, audit, secrets, entries, revisions, changes)
    for column in table.columns
}
MADE_UP = {
    "role",
    "is_admin",
    "isAdmin",
    "tenant",
    "key",
    "secret",
    "permissions",
    "created_by",
    "owner",
    "scope",
    "$where",
}
WRITES = {
    ("POST", KEYS): (
        {"app": "shop", "roles": ["user"]},
        {
            "app",
            "name",
            "roles",
            "models",
            "scenes",
            "limits",
            "budget",
            "expires_at",
            "act_as_user",
            "allowed_addresses",
        },
    ),
    ("PATCH", KEYS + "/{key}"): (
        {},
        {"name", "roles", "models", "scenes", "limits", "budget", "expires_at", "act_as_user", "allowed_addresses"},
    ),
    ("POST", KEYS + "/{key}/rotate"): ({}, {"overlap_s"}),
    ("PATCH", USERS + "/shop/u1"): ({}, {"blocked", "roles", "limits", "budget"}),
    ("POST", "/api/v1/apps"): (
        {"id": "fresh"},
        {"id", "description", "models", "scenes", "limits", "budget", "unknown_role", "content"},
    ),
    ("PATCH", "/api/v1/apps/shop"): (
        {},
        {"description", "models", "scenes", "limits", "budget", "unknown_role", "content"},
    ),
    ("POST", "/api/v1/roles"): (
        {"id": "fresh", "permissions": []},
        {"id", "permissions", "models", "scenes", "limits"},
    ),
    ("PATCH", "/api/v1/roles/user"): ({}, {"permissions", "models", "scenes", "limits"}),
    ("POST", "/api/v1/scenes"): ({"id": "fresh"}, {"id", "description", "apps", "roles"}),
    ("PATCH", "/api/v1/scenes/open"): ({}, {"description", "apps", "roles"}),
    ("POST", "/api/v1/scenes/open/versions"): (
        {"system": "x"},
        {"system", "messages", "variables", "model", "parameters", "locks", "output_schema"},
    ),
    ("POST", "/api/v1/scenes/open/publish"): ({"label": "production", "version": 1}, {"label", "version", "weight"}),
}


MERGED = ("/api/v1/apps/", "/api/v1/roles/", "/api/v1/scenes/")


@pytest.mark.parametrize(("method", "path"), WRITES)
def test_no_body_changes_what_is_protected(house: Gateway, method: str, path: str) -> None:
    body, own = WRITES[method, path]
    key = make(house)
    target = path.replace("{key}", key["id"])

    def state() -> Any:
        lists = (KEYS, USERS, "/api/v1/apps", "/api/v1/roles", "/api/v1/scenes")
        return [house.ask(f"{each}?limit=200").json["items"] for each in lists]

    before = state()
    for name in sorted((COLUMNS | MADE_UP) - own):
        for value in ("x", None, True, ["*"], {"a": 1}):
            answer = house.ask(target, {**body, name: value}, method=method)
            if value is None and path.startswith(MERGED):
                continue  # a merge patch may take away what is not there
            assert answer.status == 422, (name, value, answer.json)
            assert name in answer.json["message"], (name, answer.json)
    assert state() == before


@pytest.mark.parametrize(
    ("body", "path"),
    [
        ({"limits": {"rpm": 1, "rps": 1}}, "limits.rps"),
        ({"limits": {"rpm": "many"}}, "limits.rpm"),
        ({"budget": {"amount": 1, "currency": "CNY", "per": "day", "spent": 0}}, "budget.spent"),
        ({"models": "gpt-4"}, "models"),
        ({"expires_at": 5}, "expires_at"),
        ({"allowed_addresses": ["nowhere"]}, "allowed_addresses[0]"),
        ({"roles": None}, "roles"),
    ],
)
def test_what_is_wrong_is_named_with_its_path(house: Gateway, body: Any, path: str) -> None:
    key = make(house)
    for method, target in (("POST", KEYS), ("PATCH", f"{KEYS}/{key['id']}")):
        sent = {"app": "shop", "roles": ["user"], **body} if method == "POST" else body
        answer = house.ask(target, sent, method=method)
        assert (answer.status, answer.json["error"]["param"]) == (422, path), answer.json
    assert house.ask(f"{KEYS}/{key['id']}/rotate", {"overlap_s": -1}).status == 422


# addresses


def test_a_key_is_held_to_its_addresses(house: Gateway) -> None:
    here = make(house, allowed_addresses=["203.0.113.0/24"])["key"]
    anywhere = make(house)["key"]

    def asked(**headers: str) -> tuple[int, int]:
        return chat(house, here, headers=headers).status, house.ask(ME, key=here, headers=headers).status

    name = "X-Forwarded-For"
    assert asked(**{name: "203.0.113.7"}) == (200, 200)
    assert asked(**{name: "203.0.113.7, 10.1.2.3"}) == (200, 200)
    assert asked() == (403, 403)
    assert asked(**{name: "203.0.113.7, 198.51.100.1"}) == (403, 403)
    assert asked(**{name: "198.51.100.1, 203.0.113.7, 10.0.0.1"}) == (200, 200)
    assert asked(**{name: "203.0.113.7, nonsense"}) == (400, 400)
    assert asked(**{name: "203.0.113.7:80"}) == (400, 400)
    assert reason(chat(house, here)) == (403, "address")
    assert reason(house.ask(ME, key=here)) == (403, "address")
    assert house.ask("/api/v1/health", key=here).status == 200
    assert chat(house, anywhere, headers={name: "nonsense"}).status == 200


def test_without_trusted_proxies_the_socket_counts(emulator: Emulator, tmp_path: Any) -> None:
    environ = {"OPENAI_BASE_URL": f"{emulator.url}/v1", "OPENAI_API_KEY": "sk-x"}
    with serving(tmp_path, DOCUMENT, environ=environ) as house:
        elsewhere = make(house, allowed_addresses=["203.0.113.7"])["key"]
        here = make(house, allowed_addresses=["127.0.0.1"])["key"]
        assert house.ask(ME, key=elsewhere, headers={"X-Forwarded-For": "203.0.113.7"}).status == 403
        assert house.ask(ME, key=here, headers={"X-Forwarded-For": "nonsense"}).status == 200
        assert chat(house, elsewhere, headers={"X-Forwarded-For": "203.0.113.7"}).status == 403


# users


def test_users_are_seen_blocked_and_let_in_again(house: Gateway, holders: dict[str, str]) -> None:
    def call(**user: str) -> Answer:
        return chat(house, holders["user"], user_info={"user_id": "u/7", **user})

    assert call().status == 200
    eventually(lambda: _user(house, "u/7") is not None)
    assert _user(house, "u/7")["last_seen_at"]
    blocked = house.ask(f"{USERS}/shop/u/7", {"blocked": True}, method="PATCH", key=holders["boss"])
    assert (blocked.status, blocked.json["blocked"], blocked.json["id"]) == (200, True, "u/7")
    assert reason(call()) == (403, "user_blocked")
    assert house.ask(f"{USERS}/shop/u/7", {"blocked": False, "roles": ["user"]}, method="PATCH").status == 200
    assert call(user_role="user").status == 200
    assert reason(call(user_role="clerk")) == (403, "user_role")
    assert house.ask(f"{USERS}/shop/u/7", {"roles": ["warden"]}, method="PATCH").status == 200
    assert reason(call()) == (403, "permission")
    assert house.ask(f"{USERS}/shop/u/7", {"roles": []}, method="PATCH").status == 200
    assert call().status == 200
    assert reason(house.ask(f"{USERS}/shop/u/7", {}, method="PATCH", key=holders["user"])) == (403, "permission")
    assert house.ask(f"{USERS}?cursor=nonsense").status == 400


def _user(house: Gateway, id: str) -> Any:
    return next((user for user in house.ask(f"{USERS}?app=shop&limit=200").json["items"] if user["id"] == id), None)
