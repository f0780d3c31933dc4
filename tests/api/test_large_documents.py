"""Documents too large for the serving process: read and checked by a process of their own, with the same outcome."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from configured import CONFIG, audited, model, patch, problems_of, put, revision_of, tree_of, write
from gateway import ADMIN_KEY, Answer, Gateway, eventually, serving
from scripted import document, environ

from dujiang.config.apart import LARGE_BYTES
from dujiang.emulator.server import Emulator

MANY = {f"model-{n}": model(version="v" * 60) for n in range(2500)}


@pytest.fixture(scope="module")
def house(emulator: Emulator, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with serving(tmp_path_factory.mktemp("house"), document(), environ=environ(emulator.url)) as gateway:
        yield gateway


@pytest.fixture(autouse=True)
def first_document(house: Gateway) -> None:
    write(house, "POST", {}, None, path=f"{CONFIG}/revisions/1/rollback")


def large(house: Gateway, **sections: Any) -> bytes:
    tree = tree_of(house)
    body = json.dumps({**tree, "models": {**tree["models"], **MANY}, **sections}).encode()
    assert len(body) > LARGE_BYTES
    return body


def test_a_large_document_is_a_revision_like_any_other(house: Gateway) -> None:
    before = revision_of(house)
    body = large(house)
    judged = house.ask(f"{CONFIG}/validate", body).json
    assert (judged["valid"], len(judged["warnings"])) == (True, 100)
    answer = put(house, body)
    assert (answer.status, answer.json["revision"]) == (200, before + 1), answer.json
    assert tree_of(house) == json.loads(body)
    assert put(house, body).json["revision"] == before + 1
    assert house.chat("model-7").status == 200
    changes = house.ask(f"{CONFIG}/diff?from={before}&to={before + 1}").json["changes"]
    assert {change["path"] for change in changes} == {f"models.{name}" for name in MANY}
    assert house.ask(f"{CONFIG}/revisions/{before + 1}").json["document"] == json.loads(body)


def test_masked_secrets_stay_what_they_were(house: Gateway) -> None:
    sealed = [{"name": "own", "secret": "sk-literal-0123456789"}]
    provider = tree_of(house)["providers"]["openai"]
    assert patch(house, {"providers": {"openai": {**provider, "credentials": sealed}}}).status == 200
    assert tree_of(house)["providers"]["openai"]["credentials"][0]["secret"] == "***"
    assert put(house, large(house)).status == 200
    assert house.chat("prompt").status == 200


def test_every_problem_is_named_and_the_audit_tells_of_them(house: Gateway) -> None:
    before = revision_of(house)
    theft = {"kind": "openai", "base_url": "https://evil.example/${DUJIANG_SECRET_KEY}"}
    body = large(house, providers={**tree_of(house)["providers"], "thief": theft}, colour={})
    assert problems_of(put(house, body)) == {"colour", "providers.thief.base_url"}
    assert audited(house)[0] == ("put", "refused")
    paths = [problem["path"] for problem in house.ask(f"{CONFIG}/validate", body).json["problems"]]
    assert set(paths) == {"colour", "providers.thief.base_url"}
    assert revision_of(house) == before


@pytest.mark.parametrize(
    ("body", "path"),
    [
        (b"[" * LARGE_BYTES, ""),
        (b'{"cors":{"allow_origins":[' + b"1," * LARGE_BYTES + b"1]}}", "cors.allow_origins[0]"),
        (b'{"models": ' + b" " * LARGE_BYTES + b'{"a": 1e999}}', "models.a"),
    ],
)
def test_hostile_large_documents_are_refused(house: Gateway, body: bytes, path: str) -> None:
    before = revision_of(house)
    assert path in problems_of(put(house, body))
    assert revision_of(house) == before


def test_a_large_patch(house: Gateway) -> None:
    answer = patch(house, {"models": {**MANY, "slow": None}})
    assert answer.status == 200, answer.json
    assert set(MANY) < set(tree_of(house)["models"])
    assert "slow" not in tree_of(house)["models"]
    endless = b'{"cors": {"allow_origins": [' + b'"https://a.example",' * 70_000 + b'""]}}'
    assert problems_of(patch(house, endless)) == {"cors"}


def test_a_stale_writer_of_a_large_document(house: Gateway) -> None:
    body, before = large(house), revision_of(house)
    patch(house, {"models": {"fresh": model()}})
    assert stale(house, body, before).json["error"]["current"] == before + 1


def stale(house: Gateway, body: bytes, revision: int) -> Answer:
    answer = write(house, "PUT", body, revision)
    assert answer.status == 409
    return answer


def test_whoever_leaves_takes_the_reader_along(house: Gateway) -> None:
    body = large(house)
    head = f"POST {CONFIG}/validate HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n"
    with house.connect() as peer:
        peer.sendall(f"{head}Authorization: Bearer {ADMIN_KEY}\r\n\r\n".encode() + body)
        eventually(house.worker.children)
    eventually(lambda: not house.worker.children())
    assert put(house, body).status == 200
