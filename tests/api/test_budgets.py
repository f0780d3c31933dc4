"""Budgets over HTTP: declared, spent, corrected, and seen by those whose they are."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psutil
import pytest
from callers import post
from configured import audited, patch, revision_of, tree_of
from gateway import Answer, Gateway, eventually, serving
from ledger import budget_violations, exported, settle

from dujiang.emulator.server import Emulator
from dujiang.identity.keys import create_key
from dujiang.identity.ledger import Ledger
from dujiang.storage.database import connect, sqlite_url

BUDGETS = "/api/v1/budgets"
DOCUMENT = """
providers:
  openai: {kind: openai, base_url: "${OPENAI_BASE_URL}", allow_private_network: true,
           credentials: [{name: main, secret: "${OPENAI_API_KEY}"}]}
models:
  one: {targets: [{provider: openai, model: tokens=1/1000}],
        price: {currency: CNY, input_per_mtok: 0, output_per_mtok: 1000}}
  slow: {targets: [{provider: openai, model: latency=100;tokens=1/1000}],
         price: {currency: CNY, input_per_mtok: 0, output_per_mtok: 1000}}
  long: {targets: [{provider: openai, model: tokens=1/1000;chunks=40;chunk_interval=20}],
         price: {currency: CNY, input_per_mtok: 0, output_per_mtok: 1000}}
  cut: {targets: [{provider: openai, model: tokens=1/1000;chunks=8;cut_after=3}],
        price: {currency: CNY, input_per_mtok: 0, output_per_mtok: 1000}}
  unwell: {targets: [{provider: openai, model: status=503}],
           price: {currency: CNY, input_per_mtok: 0, output_per_mtok: 1000}}
  strange: {targets: [{provider: openai, model: ok}]}
money: {currency: CNY, rates: {USD: 7.2}}
apps:
  shop: {}
  lab: {}
  owner: {budget: {amount: 3, currency: CNY, per: month}}
roles:
  admin: {permissions: ["*"]}
  user: {permissions: ["chat:call"]}
  spender: {permissions: ["chat:call", "budgets:read", "budgets:write"]}
  steward: {permissions: ["config:*", "budgets:*", "apps:*"]}
"""
"""A call of a priced model that is answered costs 1 CNY: 1000 tokens at 1000 CNY per million."""


@pytest.fixture(scope="module")
def server(emulator: Emulator, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    environ = {"OPENAI_BASE_URL": f"{emulator.url}/v1", "OPENAI_API_KEY": "sk-emulated"}
    with serving(tmp_path_factory.mktemp("budgets"), DOCUMENT, environ=environ) as server:
        yield server


@pytest.fixture
def app(server: Gateway, request: pytest.FixtureRequest) -> Iterator[str]:
    """An app of the test's own. Its budgets go away with it."""
    name = f"app-{abs(hash(request.node.nodeid)) % 10**8}"
    assert patch(server, {"apps": {name: {}}}).status == 200
    yield name
    budgets = [each for each in tree_of(server).get("budgets", []) if name not in each["subject"]]
    assert patch(server, {"apps": {name: None}, "budgets": budgets}).status == 200


def new_key(server: Gateway, app: str, role: str = "user") -> tuple[str, str]:
    """A key's id and its secret."""
    with connect(sqlite_url(server.data_dir)) as database:
        id, secret = create_key(database, app=app, roles=[role])
    eventually(lambda: server.ask("/v1/models", key=secret).status != 401)
    return id, secret


def chat(server: Gateway, key: str, model: str = "one", user: str | None = None, **parameters: Any) -> Answer:
    body: dict[str, Any] = {"model": model, "parameters": {"prompt": "hi", "max_tokens": 1000, **parameters}}
    if user is not None:
        body["user_info"] = {"user_id": user}
    return server.ask("/api/v1/chat/completions", body, key=key)


def create(server: Gateway, subject: str, amount: Any, per: str = "day", currency: str = "CNY", **more: Any) -> Any:
    key = more.pop("key", None)
    body = {"subject": subject, "amount": amount, "currency": currency, "per": per, **more}
    answer = server.ask(BUDGETS, body, **({} if key is None else {"key": key}))
    assert answer.status == 201, answer.json
    return answer.json


def shown(server: Gateway, id: str) -> Any:
    answer = server.ask(f"{BUDGETS}/{id}")
    assert answer.status == 200, answer.json
    return answer.json


def correct(server: Gateway, id: str, amount: Any, **more: Any) -> Answer:
    body = {"amount": amount, "reason": "because", **more}
    key = body.pop("key", None)
    return server.ask(f"{BUDGETS}/{id}/corrections", body, **({} if key is None else {"key": key}))


# spending


def test_a_spent_budget_refuses_and_says_whose_it_is_and_until_when(server: Gateway, app: str) -> None:
    budget = create(server, f"app:{app}", 2)
    _, key = new_key(server, app)
    assert [chat(server, key).status for _ in range(2)] == [200, 200]
    refused = chat(server, key)
    assert refused.status == 402
    error = refused.json["error"]
    assert (error["type"], error["reason"]) == ("budget_exceeded", "spent")
    assert error["budget"]["id"] == budget["id"]
    assert error["budget"]["subject"] == f"app:{app}"
    assert error["budget"]["spent"] == {"amount": 2.0, "currency": "CNY"}
    assert 1 <= int(refused.headers["retry-after"]) <= 86_400
    found = shown(server, budget["id"])
    assert (found["limit"], found["spent"], found["reserved"]) == (2.0, 2.0, 0.0)
    assert found["window_start"] < found["window_end"]
    settle(server)
    [row] = server.ask(f"/api/v1/records?app={app}&status=refused").json["items"]
    assert (row["http_status"], row["error_type"], row["attempts"]) == (402, "budget_exceeded", 0)
    body = {"model": "one", "messages": [{"role": "user", "content": "hi"}]}
    assert server.ask("/v1/chat/completions", body, key=key).json["error"]["code"] == "insufficient_quota"


def test_what_the_ledger_has_is_what_the_records_cost(server: Gateway, app: str) -> None:
    ids = [create(server, subject, 1000)["id"] for subject in (f"app:{app}", f"user:{app}/*")]
    id, key = new_key(server, app)
    ids.append(create(server, f"key:{id}", 1000, per="total")["id"])
    with ThreadPoolExecutor(8) as pool:
        for model, stream in [("one", False), ("one", True), ("unwell", False), ("cut", True), ("strange", False)]:
            list(pool.map(lambda n, m=model, s=stream: chat(server, key, m, f"u{n % 3}", stream=s), range(6)))
    body = b'{"model":"long","parameters":{"prompt":"hi","stream":true},"user_info":{"user_id":"u1"}}'
    for _ in range(3):
        with server.connect() as caller:
            caller.sendall(post("/api/v1/chat/completions", body, key=key))
            caller.recv(10)
    correct(server, ids[0], "2.5")
    settle(server)
    rows = [row for row in exported(server) if row["app"] == app]
    assert sum(row["cost"] is not None for row in rows) >= 12
    for id in ids:
        assert budget_violations(rows, shown(server, id)) == []
        assert shown(server, id)["spent"] > 0


def test_200_calls_at_once_spend_no_more_than_there_is(server: Gateway, app: str) -> None:
    budget = create(server, f"app:{app}", 20)
    _, key = new_key(server, app)
    with ThreadPoolExecutor(100) as pool:
        statuses = list(pool.map(lambda _: chat(server, key, "slow").status, range(200)))
    assert set(statuses) == {200, 402}
    assert statuses.count(200) == 20
    found = shown(server, budget["id"])
    assert (found["spent"], found["reserved"]) == (20.0, 0.0)


def test_each_user_of_a_pattern_has_a_budget(server: Gateway, app: str) -> None:
    budget = create(server, f"user:{app}/*", 1)
    _, key = new_key(server, app)
    assert [chat(server, key, user=user).status for user in ("a", "a", "b")] == [200, 402, 200]
    settle(server)
    found = shown(server, budget["id"])
    assert (found["spent"], found["reserved"], found["subjects"]) == (2.0, None, 2)
    assert [(each["subject"], each["spent"]) for each in found["accounts"]] == [
        (f"user:{app}/a", 1.0),
        (f"user:{app}/b", 1.0),
    ]


def test_what_an_app_itself_allows_counts_too(server: Gateway) -> None:
    _, key = new_key(server, "owner")
    [budget] = [each for each in server.ask(BUDGETS).json["items"] if each["source"] == "app"]
    assert (budget["subject"], budget["limit"]) == ("app:owner", 3.0)
    assert [chat(server, key).status for _ in range(4)] == [200, 200, 200, 402]
    for method, body in (("PATCH", {"amount": 9}), ("DELETE", None)):
        answer = server.ask(f"{BUDGETS}/{budget['id']}", body, method=method)
        assert (answer.status, answer.json["error"]["reason"]) == (409, "own_budget")


def test_what_has_no_price_is_paid_or_refused(server: Gateway, app: str) -> None:
    create(server, f"app:{app}", 5)
    _, key = new_key(server, app)
    assert chat(server, key, "strange").status == 200
    patch(server, {"money": {"unknown_price": "refuse"}})
    try:
        refused = chat(server, key, "strange")
        assert (refused.status, refused.json["error"]["reason"]) == (402, "unpriced")
        assert chat(server, key, "one").status == 200
        assert chat(server, new_key(server, "lab")[1], "strange").status == 200
    finally:
        patch(server, {"money": {"unknown_price": None}})


def test_a_budget_in_another_currency_pays_at_the_rate(server: Gateway, app: str) -> None:
    budget = create(server, f"app:{app}", "0.2", currency="USD", per="total")
    _, key = new_key(server, app)
    assert [chat(server, key).status for _ in range(3)] == [200, 200, 402]
    found = shown(server, budget["id"])
    assert found["spent"] == pytest.approx(2 / 7.2, abs=1e-5)
    assert (found["window_start"], found["window_end"]) == (None, None)


@pytest.mark.parametrize("victim", ["worker", "server"])
def test_what_is_spent_stays_spent(emulator: Emulator, tmp_path: Any, victim: str) -> None:
    environ = {"OPENAI_BASE_URL": f"{emulator.url}/v1", "OPENAI_API_KEY": "sk-emulated"}
    document = DOCUMENT + 'budgets: [{subject: "app:shop", amount: 3, currency: CNY, per: month}]'
    with serving(tmp_path, document, environ=environ) as server:
        _, key = new_key(server, "shop")
        assert [chat(server, key).status for _ in range(3)] == [200] * 3
        if victim == "worker":
            worker = server.worker
            worker.kill()
            psutil.wait_procs([worker], 10)
            assert chat(server, key).status == 402
            return
    with serving(tmp_path, document, environ=environ) as server:
        assert chat(server, key).status == 402


# corrections


def test_a_correction_holds_at_once(server: Gateway, app: str) -> None:
    budget = create(server, f"app:{app}", 5)
    _, key = new_key(server, app)
    assert chat(server, key).status == 200
    made = correct(server, budget["id"], "4.5")
    assert made.status == 201
    assert (made.json["subject"], made.json["amount"], made.json["reason"]) == (f"app:{app}", 4.5, "because")
    assert chat(server, key).status == 402
    assert correct(server, budget["id"], -3).status == 201
    assert chat(server, key).status == 200
    found = shown(server, budget["id"])
    assert found["spent"] == pytest.approx(3.5)
    assert [each["amount"] for each in found["corrections"]] == [-3.0, 4.5]
    assert ("correct", "applied") in audited(server)


def test_a_correction_of_another_process_holds_within_a_second(server: Gateway, app: str) -> None:
    budget = create(server, f"app:{app}", 5)
    _, key = new_key(server, app)
    assert chat(server, key).status == 200
    with connect(sqlite_url(server.data_dir)) as database:
        found = shown(server, budget["id"])
        assert found["spent"] == 1.0
        start = correct(server, budget["id"], "0.5").json["window_start"]
        assert start == found["window_start"]
        entry = Ledger(database).corrections_since("")[-1]
        account = (entry.budget_id, entry.window_start_s, entry.subject)
        Ledger(database).correct(account, "CNY", 9_000_000, reason="elsewhere", author="shell")
    eventually(lambda: chat(server, key).status == 402)
    eventually(lambda: shown(server, budget["id"])["spent"] >= 10.5)


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"amount": 1}, "reason"),
        ({"amount": 1, "reason": ""}, "reason"),
        ({"amount": 1, "reason": "  "}, "reason"),
        ({"amount": 0, "reason": "x"}, "amount"),
        ({"amount": "NaN", "reason": "x"}, "amount"),
        ({"amount": 10**13, "reason": "x"}, "amount"),
        ({"amount": 1, "reason": "x", "subject": "app:lab"}, "subject"),
        ({"amount": 1, "reason": "x", "window_start": "2024-01-01T00:00:00Z"}, "window_start"),
        ({"amount": 1, "reason": "x", "window_start": "9999-12-31T23:59:59Z"}, "window_start"),
        ({"amount": 1, "reason": "x", "window_start": "0001-01-01T00:00:00+14:00"}, "window_start"),
        ({"amount": 1, "reason": "x", "window_start": 7}, "window_start"),
        ({"amount": 1, "reason": "x", "window_start": "2026-01-01T00:00:00"}, "window_start"),
        ({"amount": 1, "reason": "x", "why": "y"}, "why"),
    ],
)
def test_a_correction_that_makes_no_sense_is_refused(server: Gateway, app: str, body: Any, param: str) -> None:
    budget = create(server, f"app:{app}", 5)
    answer = server.ask(f"{BUDGETS}/{budget['id']}/corrections", body)
    assert (answer.status, answer.json["error"]["param"]) == (422, param)
    assert shown(server, budget["id"])["spent"] == 0


def test_a_pattern_is_corrected_for_one_of_its_subjects(server: Gateway, app: str) -> None:
    budget = create(server, f"user:{app}/*", 1)
    _, key = new_key(server, app)
    for subject in (None, "user:lab/a", f"user:{app}/", f"user:{app}/*", f"app:{app}"):
        answer = correct(server, budget["id"], 1, subject=subject)
        assert (answer.status, answer.json["error"]["param"]) == (422, "subject")
    assert correct(server, budget["id"], 1, subject=f"user:{app}/a").status == 201
    assert [chat(server, key, user=user).status for user in ("a", "b")] == [402, 200]


# writing


def test_a_budget_is_made_changed_and_deleted_as_revisions(server: Gateway, app: str) -> None:
    before = revision_of(server)
    answer = server.ask(BUDGETS, {"subject": f"app:{app}", "amount": "1.5", "currency": "CNY", "per": "week"})
    assert answer.headers["etag"] == f'"{before + 1}"'
    made = answer.json
    assert {
        "source": "document",
        "subject": f"app:{app}",
        "amount": 1.5,
        "currency": "CNY",
        "per": "week",
        "soft_ratio": None,
        "then": "refuse",
        "timezone": "Asia/Shanghai",
        "limit": 1.5,
        "spent": 0.0,
        "reserved": 0.0,
        "subjects": 1,
    }.items() <= made.items()
    again = server.ask(BUDGETS, {"subject": f"app:{app}", "amount": 9, "currency": "CNY", "per": "week"})
    assert (again.status, again.json["error"]["reason"]) == (409, "exists")
    _, key = new_key(server, app)
    assert chat(server, key).status == 200
    changed = server.ask(f"{BUDGETS}/{made['id']}", {"amount": 1, "soft_ratio": 0.5, "timezone": "UTC"}, method="PATCH")
    assert changed.status == 200
    assert (changed.json["id"], changed.json["limit"], changed.json["soft_ratio"]) == (made["id"], 1.0, 0.5)
    assert changed.json["timezone"] == "UTC"
    assert server.ask(f"{BUDGETS}/{made['id']}", method="DELETE").status == 204
    assert server.ask(f"{BUDGETS}/{made['id']}").status == 404
    assert server.ask(f"{BUDGETS}/{made['id']}", method="DELETE").status == 404
    assert chat(server, key).status == 200
    assert revision_of(server) == before + 3
    assert [row for row in audited(server) if row[1] == "applied"][:3] == [
        ("delete", "applied"),
        ("change", "applied"),
        ("create", "applied"),
    ]


def test_what_was_spent_stays_spent_when_the_amount_changes(server: Gateway, app: str) -> None:
    budget = create(server, f"app:{app}", 1)
    _, key = new_key(server, app)
    assert [chat(server, key).status for _ in range(2)] == [200, 402]
    assert server.ask(f"{BUDGETS}/{budget['id']}", {"amount": 2}, method="PATCH").json["spent"] == 1.0
    assert [chat(server, key).status for _ in range(2)] == [200, 402]


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"ammount": 1}, "ammount"),
        ({"amount": True}, "amount"),
        ({"per": "year"}, "per"),
        ({"soft_ratio": 2}, "soft_ratio"),
        ({"then": "ask"}, "then"),
        ({"subject": None}, "subject"),
    ],
)
def test_a_budget_with_a_wrong_field_is_refused(server: Gateway, change: Any, param: str) -> None:
    before = revision_of(server)
    body = {"subject": "app:shop", "amount": 1, "currency": "CNY", "per": "day", **change}
    answer = server.ask(BUDGETS, body)
    assert answer.status == 422
    assert answer.json["error"]["param"].startswith(param)
    assert revision_of(server) == before


@pytest.mark.parametrize(
    ("change", "path"),
    [
        ({"subject": "app"}, "subject"),
        ({"subject": "app:nobody"}, "subject"),
        ({"amount": 0}, "amount"),
        ({"amount": "many"}, "amount"),
        ({"currency": "yen"}, "currency"),
        ({"currency": "JPY"}, "currency"),
        ({"timezone": "Mars/Olympus"}, "timezone"),
    ],
)
def test_the_document_judges_what_is_in_a_budget(server: Gateway, change: Any, path: str) -> None:
    before = revision_of(server)
    answer = server.ask(BUDGETS, {"subject": "app:shop", "amount": 1, "currency": "CNY", "per": "day", **change})
    assert answer.status == 422
    assert [problem["path"].rpartition(".")[2] for problem in answer.json["error"]["problems"]] == [path]
    assert revision_of(server) == before


@pytest.mark.parametrize("change", [{"subject": "app:lab"}, {"currency": "USD"}, {"per": "day"}, {"id": "x"}])
def test_what_makes_a_budget_the_one_it_is_stays(server: Gateway, app: str, change: Any) -> None:
    budget = create(server, f"app:{app}", 1)
    answer = server.ask(f"{BUDGETS}/{budget['id']}", change, method="PATCH")
    assert (answer.status, answer.json["error"]["param"]) == (422, next(iter(change)))


def test_a_long_list_comes_in_pages(server: Gateway, app: str) -> None:
    for per in ("hour", "day", "week", "month", "total"):
        create(server, f"app:{app}", 1, per=per)
    whole = [each["id"] for each in server.ask(BUDGETS).json["items"]]
    pages: list[str] = []
    path: str | None = f"{BUDGETS}?limit=2"
    while path:
        answer = server.ask(path).json
        pages += [each["id"] for each in answer["items"]]
        path = f"{BUDGETS}?limit=2&cursor={answer['next_cursor']}" if answer["next_cursor"] else None
    assert pages == whole
    assert server.ask(f"{BUDGETS}?cursor=elsewhere").status == 400
    assert server.ask(f"{BUDGETS}?limit=0").status == 400


# scope


def test_a_key_of_an_app_sees_what_is_its_app_s_own(server: Gateway, app: str) -> None:
    id, key = new_key(server, app, "spender")
    other, _ = new_key(server, "lab", "spender")
    own = [
        create(server, subject, 9)["id"] for subject in (f"app:{app}", f"user:{app}/*", f"user:{app}/x", f"key:{id}")
    ]
    foreign = [
        create(server, subject, 9)["id"] for subject in ("app:*", "app:lab", "user:*", f"key:{other}", "role:spender")
    ]
    try:
        assert {each["id"] for each in server.ask(BUDGETS, key=key).json["items"]} == set(own)
        assert all(server.ask(f"{BUDGETS}/{each}", key=key).status == 200 for each in own)
        nothing = server.ask(f"{BUDGETS}/0123456789abcdef", key=key)
        for each in foreign:
            for method, path, body in (
                ("GET", "", None),
                ("PATCH", "", {"amount": 1}),
                ("DELETE", "", None),
                ("POST", "/corrections", {"amount": 1, "reason": "x"}),
            ):
                answer = server.ask(f"{BUDGETS}/{each}{path}", body, method=method, key=key)
                assert answer.status == nothing.status == 404
                assert answer.json["error"] == nothing.json["error"]
                assert answer.json["message"].replace(each, "") == nothing.json["message"].replace(
                    "0123456789abcdef", ""
                )
    finally:
        for each in foreign:
            server.ask(f"{BUDGETS}/{each}", method="DELETE")


def test_a_key_of_an_app_makes_budgets_for_its_own(server: Gateway, app: str) -> None:
    id, key = new_key(server, app, "spender")
    other, _ = new_key(server, "lab", "spender")
    for subject in (f"app:{app}", f"user:{app}/*", f"user:{app}/x", f"key:{id}"):
        create(server, subject, 9, key=key)
    for subject in ("app:lab", "app:*", "user:lab/x", "user:*", "key:*", "role:user", f"key:{other}", "key:nobody"):
        answer = server.ask(BUDGETS, {"subject": subject, "amount": 1, "currency": "CNY", "per": "day"}, key=key)
        assert (answer.status, answer.json["error"]["reason"]) == (403, "scope")
    assert audited(server)[0] == ("create", "refused")


def test_a_key_of_an_app_tightens_and_never_loosens(server: Gateway, app: str) -> None:
    _, key = new_key(server, app, "spender")
    mine = f"{BUDGETS}/{create(server, f'app:{app}', 9)['id']}"
    assert server.ask(mine, {"amount": 8, "soft_ratio": 0.5}, method="PATCH", key=key).status == 200
    assert correct(server, mine.rpartition("/")[2], 1, key=key).status == 201
    everyone = create(server, "user:*", 5)
    try:
        for method, path, body in (
            ("PATCH", mine, {"amount": 9}),
            ("PATCH", mine, {"timezone": "UTC"}),
            ("PATCH", mine, {"then": "cheapest"}),
            ("DELETE", mine, None),
            ("POST", f"{mine}/corrections", {"amount": -1, "reason": "x"}),
            ("POST", BUDGETS, {"subject": f"user:{app}/vip", "amount": 6, "currency": "CNY", "per": "day"}),
            ("POST", BUDGETS, {"subject": f"user:{app}/*", "amount": 1, "currency": "CNY", "per": "week"}),
        ):
            before = revision_of(server)
            answer = server.ask(path, body, method=method, key=key)
            assert (answer.status, answer.json["error"]["reason"]) == (403, "grant"), (path, body)
            assert revision_of(server) == before
            assert audited(server)[0][1] == "refused"
        create(server, f"user:{app}/*", 4, key=key)
    finally:
        server.ask(f"{BUDGETS}/{everyone['id']}", method="DELETE")


def test_a_limited_author_loosens_by_no_door(server: Gateway, app: str) -> None:
    _, key = new_key(server, "admin", "steward")
    free = revision_of(server)
    budget = create(server, f"app:{app}", 5)
    headers = {"If-Match": f'"{revision_of(server)}"'}
    tree = tree_of(server)
    raised = [{**each, "amount": 6} for each in tree["budgets"]]
    for method, path, body in (
        ("PUT", "/api/v1/config", {**tree, "budgets": raised}),
        ("PUT", "/api/v1/config", {name: part for name, part in tree.items() if name != "budgets"}),
        ("PATCH", "/api/v1/config", {"budgets": None}),
        ("PATCH", "/api/v1/config", {"schedule": {"timezone": "UTC"}}),
        ("POST", f"/api/v1/config/revisions/{free}/rollback", {}),
        ("PATCH", f"{BUDGETS}/{budget['id']}", {"amount": 6}),
        ("DELETE", f"{BUDGETS}/{budget['id']}", None),
        ("PATCH", "/api/v1/apps/owner", {"budget": {"amount": 4}}),
        ("PATCH", "/api/v1/apps/owner", {"budget": None}),
        ("DELETE", "/api/v1/apps/owner", None),
    ):
        answer = server.ask(path, body, method=method, key=key, headers=headers)
        assert (answer.status, answer.json["error"]["reason"]) == (403, "grant"), (method, path)
    assert server.ask(f"{BUDGETS}/{budget['id']}", {"amount": 4}, method="PATCH", key=key).status == 200


def test_no_body_is_read_before_the_key_is_known(server: Gateway) -> None:
    _, key = new_key(server, "lab", "user")
    for path in (BUDGETS, f"{BUDGETS}/x/corrections"):
        assert server.ask(path, b"{", key="dj-nobody").status == 401
        assert server.ask(path, b"{", key=key).status == 403
    assert server.ask(BUDGETS, key=key).status == 403
