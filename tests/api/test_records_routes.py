"""The routes of records: who may ask, what a question may say, and the shape of every answer."""

import asyncio
import json
from collections.abc import Iterator
from datetime import date
from types import SimpleNamespace
from urllib.parse import quote, unquote, urlencode

import msgspec
import pytest
from fastapi import FastAPI
from gateway import Answer
from stores import opened

from benchmarks.calls import Traffic
from dujiang.api import records as routes
from dujiang.api.errors import install_error_handlers
from dujiang.api.identified import Identified
from dujiang.core.call import Caller, Rights
from dujiang.core.errors import Unauthenticated
from dujiang.records.moments import DAY_MS, iso, start_of
from dujiang.records.record import Content

START = start_of(date(2026, 3, 4))
END = START + DAY_MS
RANGE = {"from": iso(START), "to": iso(END)}

CALLERS = {
    "platform": ("admin", {"records:read", "records:content", "records:export"}),
    "reader": ("app_0", {"records:read", "records:export"}),
    "own": ("app_0", {"records:read_own", "records:export"}),
    "no-export": ("app_0", {"records:read"}),
    "export-alone": ("app_0", {"records:export", "records:content"}),
    "nobody": ("app_0", {"chat:call"}),
}
OWN_KEY = "key-app_0-1"


class Runtime(SimpleNamespace):
    """As much of the runtime as these routes see: a bearer's name is its key."""

    def authenticate(self, header):
        name = (header or b"").decode().removeprefix("Bearer ")
        if name not in CALLERS:
            raise Unauthenticated("Give a key.")
        return Caller(key_id=OWN_KEY if name == "own" else name, app=CALLERS[name][0], roles=())

    def rights(self, caller):
        name = "own" if caller.key_id == OWN_KEY else caller.key_id
        return Rights(permissions=frozenset(CALLERS[name][1]))


@pytest.fixture(scope="module")
def rows():
    made = list(Traffic(21).spread(300, start_ms=START, end_ms=END))
    said = Content('[{"role":"user","content":"你好"}]', "再见")
    return sorted((msgspec.structs.replace(row, content=said) for row in made), key=lambda row: row.id, reverse=True)


@pytest.fixture(scope="module")
def client(shared_home, rows) -> Iterator[Identified]:
    with opened(shared_home) as (sink, records):
        sink.insert(rows)
        yield application(records)


def application(records) -> Identified:
    app = FastAPI()
    app.state.runtime = Runtime(records=records)
    app.include_router(routes.router)
    install_error_handlers(app)
    return Identified(app)


def ask(client: Identified, path: str = "", key: str | None = "platform", **parameters: object) -> Answer:
    return get(client, f"/api/v1/records{path}", key, urlencode(parameters))


def get(client: Identified, path: str, key: str | None = None, query: str = "") -> Answer:
    """One request, straight into the application."""
    sent = []
    body = [{"type": "http.request", "body": b"", "more_body": False}]

    async def receive():
        return body.pop() if body else await asyncio.Future()

    async def send(message):
        sent.append(message)

    scope = {
        "type": "http",
        "method": "GET",
        "path": unquote(path),
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "headers": [(b"authorization", f"Bearer {key}".encode())] if key else [],
        "scheme": "http",
        "server": ("127.0.0.1", 80),
    }
    asyncio.run(client(scope, receive, send))
    start, *rest = sent
    headers = {name.decode(): value.decode() for name, value in start["headers"]}
    return Answer(start["status"], headers, b"".join(message.get("body", b"") for message in rest))


def seen(client, key, **parameters):
    return [item["id"] for item in ask(client, key=key, limit=200, **parameters).json["items"]]


def test_a_list_is_items_and_a_cursor(client, rows):
    first = ask(client, limit=3).json
    assert first.keys() == {"items", "next_cursor"}
    assert [item["id"] for item in first["items"]] == [row.id for row in rows[:3]]
    rest = ask(client, limit=200, cursor=first["next_cursor"]).json
    assert [item["id"] for item in rest["items"]] == [row.id for row in rows[3:203]]
    last = ask(client, limit=200, cursor=rest["next_cursor"]).json
    assert last["next_cursor"] is None
    assert routes.RecordItem.model_validate(first["items"][0]).id == rows[0].id


@pytest.mark.parametrize("path", ["", "/stats", "/export", "/019ca3e2-8400-7abc-8def-0123456789ab"])
def test_who_may_ask(client, path):
    for key, status in ((None, 401), ("wrong", 401), ("nobody", 403), ("export-alone", 403)):
        assert ask(client, path, key).status == status
    assert ask(client, path, "reader").status == (404 if path.startswith("/0") else 200)


def test_an_app_sees_itself_and_a_key_its_own(client, rows):
    assert seen(client, "reader") == [row.id for row in rows if row.app == "app_0"]
    assert seen(client, "own") == [row.id for row in rows if row.key_id == OWN_KEY]
    assert seen(client, "reader", app="app_1") == seen(client, "own", app="app_1") == []
    foreign = next(row for row in rows if row.app != "app_0")
    for key in ("reader", "own"):
        assert ask(client, f"/{foreign.id}", key).status == 404
        assert seen(client, key, request_id=foreign.request_id) == []
        exported = ask(client, "/export", key).body.decode()
        assert foreign.id not in exported
    (item,) = ask(client, "/stats", "own", **RANGE).json["items"]
    assert item["calls"] == sum(row.key_id == OWN_KEY for row in rows)


def test_content_needs_its_permission(client, rows):
    row = next(row for row in rows if row.app == "app_0")
    shown = ask(client, f"/{row.id}").json
    assert shown["content"] == {"messages": [{"role": "user", "content": "你好"}], "result": "再见"}
    assert routes.RecordDetail.model_validate(shown).content is not None
    assert ask(client, f"/{row.id}", "reader").json["content"] is None


def test_an_export_needs_its_permission_and_is_streamed(client, rows):
    assert ask(client, "/export", "no-export").status == 403
    answer = ask(client, "/export")
    assert answer.headers["content-type"] == "application/x-ndjson"
    assert [json.loads(line)["id"] for line in answer.body.decode().splitlines()] == [row.id for row in rows]
    answer = ask(client, "/export", format="csv", app="app_0")
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    assert answer.headers["content-disposition"] == 'attachment; filename="records.csv"'
    assert len(answer.body.decode().splitlines()) == 1 + sum(row.app == "app_0" for row in rows)
    assert ask(client, "/export", format="xlsx").status == 400
    assert ask(client, "/export", model="gpt-4").status == 400


def test_stats_are_items(client, rows):
    items = ask(client, "/stats", group_by="model,day", **RANGE).json["items"]
    assert sum(item["calls"] for item in items) == len(rows)
    assert items[0].keys() == {"model", "day", *routes.StatsItem.model_fields}
    assert ask(client, "/stats", group_by="colour").status == 400


@pytest.mark.parametrize("path", ["", "/stats", "/export", "/019ca3e2-8400-7abc-8def-0123456789ab"])
def test_an_unknown_parameter_is_named(client, path):
    answer = ask(client, path, colour="red")
    assert (answer.status, answer.json["error"]["param"]) == (422, "colour")


@pytest.mark.parametrize(
    "text", ["' OR 1=1 --", "%_" * 10_000, "\0", "../../etc/passwd", "{}", "\u202e", "a" * 500, "NULL"], ids=range(8)
)
def test_hostile_texts_find_nothing(client, text):
    for name in ("app", "user_id", "request_id", "status", "sort", "cursor", "q", "limit"):
        answer = ask(client, **{name: text, **RANGE})
        assert answer.status == 400 or answer.json == {"items": [], "next_cursor": None}
    if len(text) < 1000:
        assert ask(client, f"/{quote(text, safe='')}").status in {404, 422}


def test_the_schema_describes_every_parameter(client):
    paths = get(client, "/openapi.json").json["paths"]
    named = {each["name"] for each in paths["/api/v1/records"]["get"]["parameters"]}
    assert named == set(routes.PARAMETERS)
    assert all(paths[path]["get"]["security"] for path in paths)
