"""A scene's life over HTTP: made, worded, tried, published, rolled out, taken back, carried away."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from gateway import Answer, Gateway, eventually, serving
from ledger import settle
from scripted import document, environ

from dujiang.emulator.server import Emulator
from dujiang.identity.keys import create_key
from dujiang.storage.database import connect, sqlite_url

SCENES = "/api/v1/scenes"
ROLES = {
    "admin": {"permissions": ["*"]},
    "developer": {"permissions": ["chat:call", "scenes:*"]},
    "reader": {"permissions": ["scenes:read"]},
    "user": {"permissions": ["chat:call"]},
}


@pytest.fixture(scope="module")
def house(emulator: Emulator, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    text = document(roles=ROLES, scenes={})
    with serving(tmp_path_factory.mktemp("house"), text, environ=environ(emulator.url)) as gateway:
        yield gateway


@pytest.fixture(scope="module")
def keys(house: Gateway) -> dict[str, str]:
    holders = {
        "shop": ("shop", "developer"),
        "lab": ("lab", "developer"),
        "reader": ("shop", "reader"),
        "user": ("shop", "user"),
    }
    with connect(sqlite_url(house.data_dir)) as database:
        made = {name: create_key(database, app=app, roles=[role])[1] for name, (app, role) in holders.items()}
    eventually(lambda: all(house.ask("/v1/models", key=key).status != 401 for key in made.values()))
    return made


@pytest.fixture
def scene(house: Gateway, request: pytest.FixtureRequest) -> str:
    id = f"s-{abs(hash(request.node.name)) % 10**8}"
    assert house.ask(SCENES, {"id": id}).status == 201
    return id


def word(house: Gateway, scene: str, system: str, **more: Any) -> int:
    answer = house.ask(f"{SCENES}/{scene}/versions", {"system": system, **more})
    assert answer.status == 201, answer.json
    return answer.json["version"]


def publish(house: Gateway, scene: str, label: str, version: int, **more: Any) -> Answer:
    return house.ask(f"{SCENES}/{scene}/publish", {"label": label, "version": version, **more})


def called(house: Gateway, prompt_id: str, user: str = "u") -> tuple[str, int]:
    """The scene and version that the record of a call tells."""
    body = {
        "model": "prompt",
        "parameters": {"prompt": "hi", "prompt_id": prompt_id},
        "user_info": {"user_id": user},
        "request_id": f"{prompt_id}-{user}",
    }
    answer = house.ask("/api/v1/chat/completions", body)
    assert answer.status == 200, answer.json
    settle(house)
    row = house.ask(f"/api/v1/records?user_id={user}&limit=1").json["items"][0]
    return row["scene"], row["scene_version"]


def test_from_the_first_word_to_the_last(house: Gateway, scene: str) -> None:
    assert house.chat("prompt", prompt_id=scene).status == 404
    assert word(house, scene, "你是{{company}}的客服。", variables={"company": {"default": "示例公司"}}) == 1
    assert called(house, scene, "first") == (scene, 1)
    assert word(house, scene, "You serve {{company}}.", variables={"company": {}}) == 2
    assert called(house, scene, "still") == (scene, 1)
    tried = house.ask(f"{SCENES}/{scene}/render", {"version": 2, "variables": {"company": "江"}, "prompt": "hi"})
    assert [message["content"] for message in tried.json["messages"]] == ["You serve 江.", "hi"]
    assert house.ask(f"{SCENES}/{scene}/render", {"version": 2}).status == 422
    word(house, scene, "Third.")
    assert publish(house, scene, "staging", 3).json["labels"] == {"production": 1, "staging": 3}
    assert called(house, f"{scene}@staging", "staged") == (scene, 3)
    assert called(house, f"{scene}@1", "numbered") == (scene, 1)
    assert publish(house, scene, "production", 3).status == 200
    assert called(house, scene, "published") == (scene, 3)
    moves = house.ask(f"{SCENES}/{scene}/history").json["items"]
    assert [move["labels"].get("production") for move in moves][:2] == [3, 1]
    restored = house.ask(f"{SCENES}/{scene}/restore", {"revision": moves[1]["revision"]})
    assert restored.json["labels"] == {"production": 1, "staging": 3}
    assert called(house, scene, "restored") == (scene, 1)


def test_a_rollout_by_share(house: Gateway, scene: str) -> None:
    word(house, scene, "old")
    word(house, scene, "new")
    assert publish(house, scene, "production", 2, weight=10).json["labels"] == {"production": {"1": 90, "2": 10}}
    assert publish(house, scene, "production", 2, weight=0.25).json["labels"] == {"production": {"1": 75, "2": 25}}
    word(house, scene, "newest")
    shares = publish(house, scene, "production", 3, weight=50).json["labels"]["production"]
    assert shares == {"1": 37.5, "2": 12.5, "3": 50}
    assert {called(house, scene, f"user-{n}")[1] for n in range(12)} > {1}
    assert publish(house, scene, "production", 3).json["labels"] == {"production": 3}
    for weight in (0, -1, 101, 1000):
        assert publish(house, scene, "production", 1, weight=weight).status == 400
    assert publish(house, scene, "fresh", 1, weight=10).status == 422
    assert publish(house, scene, "production", 9).status == 404
    assert publish(house, scene, "7th", 1).status == 422


def test_a_used_version_stays_and_no_number_comes_twice(house: Gateway, scene: str) -> None:
    for text in ("one", "two", "three"):
        word(house, scene, text)
    assert house.ask(f"{SCENES}/{scene}/versions/1", method="DELETE").status == 409
    publish(house, scene, "production", 3)
    assert house.ask(f"{SCENES}/{scene}/versions/3", method="DELETE").status == 409
    assert house.ask(f"{SCENES}/{scene}/versions/1", method="DELETE").status == 204
    publish(house, scene, "production", 2)
    assert house.ask(f"{SCENES}/{scene}/versions/3", method="DELETE").status == 204
    assert word(house, scene, "four") == 4
    assert house.ask(f"{SCENES}/{scene}/versions", {"version": 9, "system": "x"}).status == 422
    assert house.ask(f"{SCENES}/{scene}/versions/2", {"system": "changed"}, method="PATCH").status == 405


@pytest.mark.parametrize(
    ("path", "body", "param"),
    [
        ("publish", {"label": "production"}, "version"),
        ("publish", {"label": "production", "version": 1, "colour": 1}, "colour"),
        ("publish", {"label": 7, "version": 1}, "label"),
        ("render", {"version": "one"}, "version"),
        ("restore", {}, "revision"),
    ],
)
def test_what_is_wrong_in_a_body_is_named(house: Gateway, scene: str, path: str, body: Any, param: str) -> None:
    word(house, scene, "x")
    answer = house.ask(f"{SCENES}/{scene}/{path}", body)
    assert (answer.status, answer.json["error"]["param"]) == (422, param)


def test_a_body_needs_no_content_type(house: Gateway, scene: str) -> None:
    word(house, scene, "x")
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    assert house.ask(f"{SCENES}/{scene}/render", {"prompt": "hi"}, headers=form).status == 200


def test_a_file_carries_a_scene_away_and_back(house: Gateway, scene: str) -> None:
    word(house, scene, "line one\nline two: {{x}}", variables={"x": {"default": "yes"}})
    exported = house.ask(f"{SCENES}/{scene}/export")
    assert "yaml" in exported.headers["content-type"]
    before = house.ask(f"{SCENES}/{scene}").json
    assert house.ask(f"{SCENES}/{scene}", method="DELETE").status == 204
    assert house.ask(f"{SCENES}/{scene}").status == 404
    assert house.ask(f"{SCENES}/import", exported.body).status == 201
    assert house.ask(f"{SCENES}/{scene}").json == before


def test_an_app_has_its_own_scenes(house: Gateway, keys: dict[str, str]) -> None:
    made = house.ask(SCENES, {"id": "of-shop"}, key=keys["shop"])
    assert (made.status, made.json["apps"]) == (201, ["shop"])
    assert house.ask(f"{SCENES}/of-shop/versions", {"system": "x"}, key=keys["shop"]).status == 201
    seen = {item["id"] for item in house.ask(SCENES, key=keys["lab"]).json["items"]}
    assert "of-shop" not in seen
    for method, path, body in (
        ("GET", "", None),
        ("PATCH", "", {"description": "mine"}),
        ("DELETE", "", None),
        ("POST", "/versions", {"system": "x"}),
        ("POST", "/publish", {"label": "production", "version": 1}),
        ("POST", "/render", {}),
        ("GET", "/export", None),
        ("GET", "/history", None),
    ):
        assert house.ask(f"{SCENES}/of-shop{path}", body, method=method, key=keys["lab"]).status == 404, (method, path)
    wider = house.ask(f"{SCENES}/of-shop", {"apps": ["*"]}, method="PATCH", key=keys["shop"])
    assert (wider.status, wider.json["error"]["reason"]) == (403, "not_own_scene")
    assert house.ask(SCENES, {"id": "for-lab", "apps": ["lab"]}, key=keys["shop"]).status in {403, 404}
    assert house.ask(SCENES, {"id": "x"}, key=keys["reader"]).status == 403
    assert house.ask(SCENES, key=keys["user"]).status == 403
    shared = house.ask(SCENES, {"id": "shared"})
    assert shared.status == 201
    assert house.ask(f"{SCENES}/shared/versions", {"system": "x"}, key=keys["shop"]).status == 403
    stolen = json.dumps({"scenes": {"shared": {"versions": [{"version": 1, "system": "mine"}], "apps": ["shop"]}}})
    assert house.ask(f"{SCENES}/import", stolen.encode(), key=keys["shop"]).status == 403


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({}, 400),
        ({"id": "../x"}, 422),
        ({"id": "x\n"}, 422),
        ({"id": "fine", "versions": []}, 422),
        ({"id": "fine", "colour": 1}, 422),
        ({"id": "fine", "description": 7}, 422),
    ],
)
def test_what_is_no_scene(house: Gateway, body: Any, status: int) -> None:
    assert house.ask(SCENES, body).status == status


@pytest.mark.parametrize("version", [{"system": 1}, {"variables": {"1x": {}}}, {"model": "nowhere"}, {"colour": 1}])
def test_what_is_no_version(house: Gateway, scene: str, version: Any) -> None:
    answer = house.ask(f"{SCENES}/{scene}/versions", version)
    assert answer.status == 422
    assert all(each["path"].startswith(f"scenes.{scene}.versions[0]") for each in answer.json["error"]["problems"])
