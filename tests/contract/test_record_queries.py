"""Questions about records: what is found, in what order, by whom; and what is refused, fast."""

import time
from datetime import date

import msgspec
import pytest
from stores import opened

from benchmarks.calls import Traffic
from dujiang.core.errors import InvalidRequest, LimitExceeded, NotFound, Unprocessable
from dujiang.records.cursor import read_key
from dujiang.records.moments import DAY_MS, iso, start_of
from dujiang.records.query import PARAMETERS, RecordQuery, Scope, parse_query
from dujiang.records.reading import Turns
from dujiang.records.record import Content
from dujiang.records.stats_query import STATS_PARAMETERS, parse_stats

START = start_of(date(2026, 3, 4))
END = START + 3 * DAY_MS
ALL = Scope()
HOSTILE = [
    "'; DROP TABLE calls; --",
    '" OR ""="',
    "1) UNION SELECT * FROM sqlite_master --",
    "%",
    "%_" * 100,
    "\0",
    "x\0y",
    "?",
    ":app",
    "{}",
    "../..",
    "\u202e\u2028",
    "\ud800",
    "NULL",
]


@pytest.fixture(scope="module")
def rows():
    made = list(Traffic(7, content_share=0.3).spread(600, start_ms=START, end_ms=END))
    made[10] = msgspec.structs.replace(
        made[10], content=Content('[{"role":"user","content":"你好"}]', '{"answer": 42}')
    )
    made[11] = msgspec.structs.replace(made[11], error_text="50%_off", user_id="50%_user", request_id="50%_id")
    return sorted(made, key=lambda row: row.id)


@pytest.fixture(scope="module")
def records(shared_home, rows):
    with opened(shared_home, clock=lambda: END / 1000) as (sink, records):
        sink.insert(rows)
        yield records


def find(records, scope=ALL, **parameters):
    return records.list(parse(**parameters), scope)


def parse(**parameters):
    return parse_query([(name.rstrip("_"), str(value)) for name, value in parameters.items()], END)


def ids(page):
    return [item["id"] for item in page.items]


LAST_DAY = {"from_": iso(END - DAY_MS), "limit": 200}


def test_the_newest_come_first(records, rows):
    page = find(records)
    assert ids(page) == [row.id for row in rows[::-1][:50]]
    assert page.next_cursor
    assert ids(find(records, cursor=page.next_cursor)) == [row.id for row in rows[::-1][50:100]]
    assert ids(find(records, sort="started_at", limit=3)) == [row.id for row in rows[:3]]


def test_an_item_is_the_contracts(records, rows):
    row = next(row for row in rows[::-1] if row.status == "ok" and row.cost_micros)
    (item,) = find(records, request_id=row.request_id).items
    assert item == {
        **{name: getattr(row, name) for name in ("id", "request_id", "app", "key_id", "user_id", "user_role")},
        **{name: getattr(row, name) for name in ("endpoint", "scene", "scene_version", "model_requested", "model")},
        **{name: getattr(row, name) for name in ("provider", "target", "stream", "status", "http_status")},
        **{name: getattr(row, name) for name in ("error_type", "finish_reason", "cached", "first_token_ms")},
        **{name: getattr(row, name) for name in ("total_ms", "overhead_ms", "queue_ms", "config_revision")},
        "started_at": iso(row.started_at_ms),
        "usage": {
            "prompt_tokens": row.input_uncached + row.cache_read,
            "completion_tokens": row.output_visible,
            "total_tokens": row.input_uncached + row.cache_read + row.output_visible,
            "cached_tokens": row.cache_read,
            "reasoning_tokens": 0,
            "source": "provider",
        },
        "cost": {"amount": row.cost_micros / 10**6, "currency": row.currency},
        "attempts": 1,
        "routing": None,
    }


def test_what_is_not_known_is_null(records, rows):
    row = next(row for row in rows if row.status == "refused")
    (item,) = find(records, request_id=row.request_id).items
    assert (item["usage"], item["cost"], item["model"], item["provider"], item["target"]) == (None,) * 5


FILTERS = {
    "app": lambda row: row.app == "app_1",
    "user_id": lambda row: row.user_id == "user-7",
    "user_role": lambda row: row.user_role == "vip",
    "model": lambda row: row.model == "gpt-4",
    "provider": lambda row: row.provider == "openai",
    "status": lambda row: row.status == "error",
    "scene": lambda row: row.scene == "support",
    "cached": lambda row: row.cached == "exact",
    "min_cost": lambda row: row.currency == "CNY" and (row.cost_micros or 0) >= 20_000,
    "min_latency_ms": lambda row: row.total_ms >= 1000,
    "q": lambda row: row.request_id.startswith("req-a"),
}
VALUES = {
    "app": "app_1",
    "user_id": "user-7",
    "user_role": "vip",
    "model": "gpt-4",
    "provider": "openai",
    "status": "error",
    "scene": "support",
    "cached": "exact",
    "min_cost": "0.02",
    "min_latency_ms": "1000",
    "q": "req-a",
}


@pytest.mark.parametrize("names", [*((name,) for name in FILTERS), ("app", "model"), ("app", "status", "scene"), ()])
@pytest.mark.parametrize("sort", ["-started_at", "started_at", "-total_ms", "-cost"])
def test_filters_let_through_what_they_say(records, rows, names, sort):
    page = find(records, **LAST_DAY, sort=sort, **{name: VALUES[name] for name in names})
    wanted = [row for row in rows if row.started_at_ms >= END - DAY_MS and all(FILTERS[name](row) for name in names)]
    orders = {
        "started_at": lambda row: row.id,
        "-started_at": lambda row: row.id,
        "-total_ms": lambda row: (row.total_ms, row.id),
        "-cost": lambda row: (-1 if row.cost_micros is None else row.cost_micros, row.id),
    }
    wanted.sort(key=orders[sort], reverse=sort != "started_at")
    assert ids(page) == [row.id for row in wanted][:200]


def test_a_users_records_are_found_without_the_app(records, rows):
    assert ids(find(records, user_id="user-7", limit=200)) == [r.id for r in rows[::-1] if r.user_id == "user-7"]


def test_any_or_no_cache(records, rows):
    for value, is_cached in (("true", True), ("false", False)):
        found = ids(find(records, **LAST_DAY, cached=value))
        wanted = [r.id for r in rows[::-1] if r.id >= rows[400].id and (r.cached is not None) is is_cached]
        assert found == wanted


def test_a_prefix_has_no_wildcards(records, rows):
    row = rows[11]
    day = {"from_": iso(START), "to": iso(START + DAY_MS)}
    for start in ("50%_o", "50%_u", "50%_i", "50%_"):
        assert ids(find(records, **day, q=start)) == [row.id]
    assert ids(find(records, **day, q="50__")) == ids(find(records, **day, q="%_")) == []


def test_from_is_inclusive_and_to_is_not(records, rows):
    one, other = rows[100], rows[103]
    page = find(records, from_=iso(one.started_at_ms), to=iso(other.started_at_ms))
    assert ids(page) == [row.id for row in rows[100:103]][::-1]
    assert ids(find(records, to="1970-01-01")) == []
    assert ids(find(records, from_=iso(END))) == []


@pytest.mark.parametrize(
    "text",
    ["2026-03-05T08:00:00+08:00", "2026-03-05T08:00:00 08:00", "2026-03-05", "2026-03-05T00:00:00Z", "20260305T000000"],
)
def test_times_are_iso_8601(text):
    assert parse(to=text).to_ms == start_of(date(2026, 3, 5))


@pytest.mark.parametrize(
    ("parameters", "param"),
    [
        ({"limit": "0"}, "limit"),
        ({"limit": "201"}, "limit"),
        ({"limit": "-1"}, "limit"),
        ({"limit": "1.5"}, "limit"),
        ({"limit": "٣"}, "limit"),
        ({"sort": "app"}, "sort"),
        ({"sort": "id; DROP TABLE calls"}, "sort"),
        ({"status": "fine"}, "status"),
        ({"from_": "yesterday"}, "from"),
        ({"from_": "9" * 5000}, "from"),
        ({"from_": "0001-01-01"}, "from"),
        ({"from_": "2026-03-05", "to": "2026-03-04"}, "from"),
        ({"min_cost": "-1"}, "min_cost"),
        ({"min_cost": "1e9"}, "min_cost"),
        ({"min_cost": "NaN"}, "min_cost"),
        ({"currency": "yuan"}, "currency"),
        ({"app": ""}, "app"),
        ({"q": "x"}, "q"),
        ({"q": "%_" * 10_000}, "q"),
        ({"user_id": "x" * 257}, "user_id"),
        ({"cursor": "x" * 100_000}, "cursor"),
        ({"cursor": ""}, "cursor"),
        ({"app": "\ud800"}, "app"),
    ],
)
def test_a_value_that_is_none_is_refused_with_its_parameter(parameters, param):
    with pytest.raises(InvalidRequest) as caught:
        parse(**parameters)
    assert caught.value.param == param


def test_a_parameter_that_there_is_not_is_named():
    with pytest.raises(Unprocessable) as caught:
        parse(colour="red")
    assert caught.value.param == "colour"
    with pytest.raises(InvalidRequest, match="once"):
        parse_query([("app", "a"), ("app", "b")], END)


@pytest.mark.parametrize(
    "name", ["user_role", "model", "provider", "scene", "cached", "min_cost", "min_latency_ms", "q"]
)
def test_what_has_no_index_needs_a_day_at_most(name):
    parse(**{name: VALUES[name]}, from_=iso(END - DAY_MS))
    for range in ({}, {"from_": iso(END - DAY_MS - 1)}, {"to": iso(END)}):
        with pytest.raises(InvalidRequest, match="24 hours"):
            parse(**{name: VALUES[name]}, **range)


@pytest.mark.parametrize("sort", ["-total_ms", "-cost"])
def test_another_order_needs_a_day_at_most(sort):
    parse(sort=sort, from_=iso(END - DAY_MS), app="a")
    with pytest.raises(InvalidRequest, match="24 hours"):
        parse(sort=sort, app="a")


@pytest.mark.parametrize("text", HOSTILE)
@pytest.mark.parametrize("name", sorted(PARAMETERS))
def test_hostile_values_find_nothing_or_are_refused_and_fast(records, name, text):
    started = time.monotonic()
    try:
        page = records.list(parse_query([("from", iso(END - DAY_MS)), (name, text)], END), ALL)
    except (InvalidRequest, Unprocessable):
        pass
    else:
        assert page.items == []
    assert time.monotonic() - started < 2


@pytest.mark.parametrize("text", HOSTILE)
@pytest.mark.parametrize("name", sorted(STATS_PARAMETERS))
def test_hostile_values_sum_up_nothing_or_are_refused(records, name, text):
    try:
        items = records.stats(parse_stats([("group_by", "app"), (name, text)], END), ALL)
    except (InvalidRequest, Unprocessable):
        return
    assert items == []


# whose records


def test_an_app_sees_its_own_alone(records, rows):
    own = [row.id for row in rows[::-1] if row.app == "app_1"]
    scope = Scope(app="app_1")
    assert ids(find(records, scope, limit=200)) == own[:200]
    assert find(records, scope, app="app_0").items == []
    assert find(records, scope, app="app_1", limit=1).items
    foreign = next(row for row in rows if row.app == "app_0")
    for name in ("request_id", "user_id"):
        found = find(records, scope, **{name: getattr(foreign, name)}).items
        assert all(item["app"] == "app_1" for item in found)
    with pytest.raises(NotFound):
        records.get(foreign.id, scope, with_content=True)


def test_a_key_sees_its_own_alone(records, rows):
    scope = Scope(app="app_0", key_id="key-app_0-1")
    own = [row for row in rows[::-1] if row.key_id == scope.key_id]
    assert ids(find(records, scope, limit=200)) == [row.id for row in own]
    assert records.get(own[0].id, scope, with_content=False)["id"] == own[0].id
    other = next(row for row in rows if row.app == "app_0" and row.key_id != scope.key_id)
    with pytest.raises(NotFound):
        records.get(other.id, scope, with_content=False)


def test_a_cursor_is_of_use_only_where_it_was_made(records):
    cursor = find(records, limit=5).next_cursor
    find(records, limit=7, cursor=cursor)
    elsewhere = [
        lambda: find(records, Scope(app="app_0"), cursor=cursor),
        lambda: find(records, app="app_0", cursor=cursor),
        lambda: find(records, sort="started_at", cursor=cursor),
        lambda: find(records, sort="-total_ms", cursor=cursor),
    ]
    for ask in elsewhere:
        with pytest.raises(InvalidRequest, match="cursor"):
            ask()


def test_a_cursor_cannot_be_made_up(records):
    cursor = find(records, limit=5).next_cursor
    flipped = [cursor[:n] + ("A" if cursor[n] != "A" else "B") + cursor[n + 1 :] for n in range(len(cursor) - 1)]
    for text in [*flipped, cursor[:-4], cursor + "AAAA", "A" * 40, "{}", "é", *(t for t in HOSTILE if t)]:
        with pytest.raises(InvalidRequest):
            records.list(RecordQuery(cursor=text), ALL)


def test_the_key_is_made_once_and_kept_private(tmp_path):
    file = tmp_path / "records" / "cursor.key"
    key = read_key(file)
    assert len(key) == 32
    assert read_key(file) == key
    assert file.stat().st_mode & 0o777 == 0o600
    assert [each.name for each in file.parent.iterdir()] == ["cursor.key"]


# one record


def test_one_record_has_its_attempts_and_what_was_said(records, rows):
    row = rows[10]
    item = records.get(row.id, ALL, with_content=True)
    assert item["content"] == {"messages": [{"role": "user", "content": "你好"}], "result": '{"answer": 42}'}
    (tried,) = row.attempts
    assert item["attempts_detail"] == [
        {
            "provider": tried.provider,
            "target": tried.target,
            "credential": tried.credential,
            "status": "error" if tried.error_type else "ok",
            "error_type": tried.error_type,
            "waited_ms": tried.waited_ms,
            "first_token_ms": tried.first_token_ms,
            "total_ms": tried.total_ms,
            "why": "first",
            "chosen_by": "least_loaded",
            "cost": None
            if tried.cost_micros is None
            else {"amount": tried.cost_micros / 10**6, "currency": row.currency},
        }
    ]
    assert records.get(row.id, ALL, with_content=False)["content"] is None


@pytest.mark.parametrize("id", [*HOSTILE, "", "in-flight", "019ca3e2-8400-7abc-8def-0123456789ab"])
def test_an_id_that_there_is_not_is_not_found(records, id):
    with pytest.raises(NotFound):
        records.get(id, ALL, with_content=True)


# limits


def test_what_takes_too_long_is_given_up(records, shared_home):
    hasty = shared_home.records(timeout_s=0.0)
    try:
        for ask in (lambda: hasty.list(RecordQuery(), ALL), lambda: next(hasty.export(RecordQuery(), ALL))):
            with pytest.raises(Unprocessable, match="too long"):
                ask()
    finally:
        hasty.close()


def test_only_a_few_may_ask_at_once():
    turns = Turns(timeout_s=0.01, concurrency=1)
    with turns.take(), pytest.raises(LimitExceeded), turns.take():
        pass
    with turns.take():
        pass


def test_where_nothing_was_stored_there_is_nothing(home):
    records = home.records()
    assert records.list(RecordQuery(), ALL).items == []
    assert list(records.export(RecordQuery(), ALL)) == []
    assert records.stats(parse_stats([], END), ALL) == []
    records.close()
