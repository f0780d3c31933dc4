"""Keys as data: made, changed, rotated and revoked by whoever may, each with its row in the audit."""

from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import select, update

from dujiang.config.fields import patched, settings_of
from dujiang.core.errors import Conflict, Forbidden, NotFound, Unauthenticated, Unprocessable
from dujiang.core.names import compile_names
from dujiang.identity.admin_key import ensure_admin
from dujiang.identity.grants import Policy
from dujiang.identity.key import MAX_DEPTH
from dujiang.identity.key_fields import KeyFields, NewKey
from dujiang.identity.key_ring import load_keys
from dujiang.identity.keys import (
    OPERATOR,
    Writer,
    change_key,
    create_key,
    get_key,
    list_keys,
    make_key,
    page_of_keys,
    revoke_key,
    rotate_key,
)
from dujiang.identity.roles import compile_roles
from dujiang.identity.settings import AppSettings, LimitSettings, RoleSettings
from dujiang.identity.tables import keys
from dujiang.migrations import upgrade
from dujiang.storage.audit import Audit
from dujiang.storage.database import connect, sqlite_url

ROLES = {
    "admin": RoleSettings(permissions=("*",)),
    "user": RoleSettings(permissions=("chat:call",), models=("lab-*",)),
    "slow": RoleSettings(permissions=("chat:call",), limits=LimitSettings(rpm=6, max_tokens=256)),
    "clerk": RoleSettings(permissions=("keys:read", "keys:write")),
}
APPS = {"shop": AppSettings(), "lab": AppSettings(limits=LimitSettings(rpm=100))}
POLICY = Policy(
    table=compile_roles(ROLES, APPS),
    roles=ROLES,
    apps=APPS,
    default=LimitSettings(rpm=600),
    scene_roles={"staff": compile_names(["admin"])},
)
LATER = datetime.now(UTC) + timedelta(days=9)


@pytest.fixture
def database(tmp_path):
    with connect(sqlite_url(tmp_path)) as database:
        upgrade(database)
        yield database


def made(database, by=OPERATOR, *, app="shop", roles=("user",), **fields):
    return make_key(database, settings_of({"app": app, "roles": list(roles), **fields}, NewKey), by)[0]


def writer(key):
    return Writer(key.id, POLICY)


def change(database, key, by=OPERATOR, **patch):
    return change_key(database, key.id, lambda known: patched(known, patch, KeyFields), by)


def deeds(database):
    return [(row.author, row.action, row.outcome) for row in Audit(database).list(None, 100)]


@contextmanager
def refused(param):
    with pytest.raises(Forbidden) as caught:
        yield
    assert (caught.value.reason, caught.value.param) == ("grant", param)


def test_all_that_can_be_said_of_a_key_is_kept(database):
    said = {
        "name": "till",
        "models": ["lab-*"],
        "scenes": ["a"],
        "limits": {"rpm": 1, "tpm": 2, "concurrency": 3, "max_tokens": 4},
        "budget": {"amount": "12.345678901234", "currency": "CNY", "per": "day"},
        "expires_at": "2999-01-31T12:00:00+08:00",
        "act_as_user": False,
        "allowed_addresses": ["10.0.0.1", "2001:db8::/32", "::ffff:192.0.2.0/120"],
    }
    key, secret = make_key(database, settings_of({"app": "shop", "roles": ["user", "user"], **said}, NewKey), OPERATOR)
    assert get_key(database, key.id) == key
    assert key.roles == ("user",)
    assert str(key.budget.amount) == "12.345678901234"
    assert key.expires_at == datetime(2999, 1, 31, 4, tzinfo=UTC)
    assert key.allowed_addresses == ("10.0.0.1/32", "2001:db8::/32", "192.0.2.0/24")
    caller = load_keys(database).find(secret.encode())
    assert (caller.max_tokens, caller.limits.tpm, caller.act_as_user, len(caller.networks)) == (4, 2, False, 3)
    assert "lab-7b" in caller.models
    assert "other" not in caller.models
    assert change(database, key) == key


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"expires_at": "soon"}, "expires_at"),
        ({"expires_at": "2020-01-01"}, "expires_at"),
        ({"expires_at": "9999-12-31T23:59:59-23:59"}, "expires_at"),
        ({"allowed_addresses": ["10.0.0.0/8", "10.0.0.1/8"]}, "allowed_addresses[1]"),
        ({"allowed_addresses": ["fe80::1%eth0"]}, "allowed_addresses[0]"),
        ({"allowed_addresses": ["host.example"]}, "allowed_addresses[0]"),
        ({"models": ["a*b"]}, "models[0]"),
        ({"roles": []}, "roles"),
        ({"limits": {"rpm": 0}}, "limits.rpm"),
        ({"budget": {"amount": -1, "currency": "CNY", "per": "day"}}, "budget.amount"),
        ({"budget": {"amount": 1, "currency": "CNY"}}, "budget.per"),
        ({"name": "x" * 201}, "name"),
        ({"id": "k"}, "id"),
    ],
)
def test_a_field_that_is_wrong_is_named(database, fields, param):
    with pytest.raises(Unprocessable) as caught:
        made(database, **fields)
    assert caught.value.param == param
    assert list_keys(database) == []


# who may grant what


@pytest.fixture
def maker(database):
    """A key of an app that may make keys, and holds less than everything in each respect."""
    return made(
        database,
        roles=("clerk", "slow"),
        models=["lab-*"],
        scenes=["a", "staff"],
        limits={"rpm": 5, "tpm": 1000, "concurrency": 2, "max_tokens": 100},
        budget={"amount": 10, "currency": "CNY", "per": "day"},
        expires_at=LATER.isoformat(),
        act_as_user=False,
        allowed_addresses=["10.0.0.0/8"],
    )


ALIKE = {
    "roles": ["slow"],
    "models": ["lab-7b"],
    "scenes": ["a"],
    "limits": {"rpm": 5, "tpm": 1, "concurrency": 2, "max_tokens": 100},
    "budget": {"amount": 10, "currency": "CNY", "per": "day"},
    "expires_at": LATER.isoformat(),
    "act_as_user": False,
    "allowed_addresses": ["10.1.0.0/16", "10.0.0.1"],
}

WIDER = [
    ("roles", ["admin"], "roles"),
    ("roles", ["clerk", "user"], "roles"),
    ("models", ["*"], "models"),
    ("models", ["lab*"], "models"),
    ("models", ["lab-7b", "gpt-4"], "models"),
    ("scenes", ["a", "b"], "scenes"),
    ("limits", {"rpm": 6, "tpm": 1, "concurrency": 2, "max_tokens": 100}, "limits.rpm"),
    ("limits", {"rpm": 5, "tpm": None, "concurrency": 2, "max_tokens": 100}, "limits.tpm"),
    ("limits", {"rpm": 5, "tpm": 1, "concurrency": 3, "max_tokens": 100}, "limits.concurrency"),
    ("limits", {"rpm": 5, "tpm": 1, "concurrency": 2, "max_tokens": 101}, "limits.max_tokens"),
    ("limits", {"rpm": 5, "tpm": 1, "concurrency": 2, "max_tokens": None}, "limits.max_tokens"),
    ("budget", None, "budget"),
    ("budget", {"amount": "10.01", "currency": "CNY", "per": "day"}, "budget"),
    ("budget", {"amount": 1, "currency": "USD", "per": "day"}, "budget"),
    ("budget", {"amount": 1, "currency": "CNY", "per": "hour"}, "budget"),
    ("expires_at", None, "expires_at"),
    ("expires_at", (LATER + timedelta(seconds=1)).isoformat(), "expires_at"),
    ("act_as_user", True, "act_as_user"),
    ("allowed_addresses", [], "allowed_addresses"),
    ("allowed_addresses", ["10.0.0.0/7"], "allowed_addresses"),
    ("allowed_addresses", ["10.0.0.1", "::/0"], "allowed_addresses"),
]


@pytest.mark.parametrize(("field", "value", "param"), WIDER)
def test_a_new_key_is_within_its_maker_s(database, maker, field, value, param):
    with refused(param):
        made(database, writer(maker), **{**ALIKE, field: value})
    assert len(list_keys(database)) == 1
    assert deeds(database)[0] == (maker.id, "create", "refused")


@pytest.mark.parametrize(("field", "value", "param"), WIDER)
def test_a_changed_key_is_within_its_author_s(database, maker, field, value, param):
    child = made(database, writer(maker), **ALIKE)
    with refused(param):
        change(database, child, writer(maker), **{field: value})
    assert get_key(database, child.id) == child
    assert deeds(database)[0] == (maker.id, "change", "refused")


def test_its_like_may_be_made_and_narrowed(database, maker):
    child = made(database, writer(maker), **ALIKE)
    assert child.created_by == maker.id
    narrowed = change(database, child, writer(maker), models=[], limits={"rpm": 1}, name="x")
    assert (narrowed.models, narrowed.limits.rpm, narrowed.limits.tpm, narrowed.name) == ((), 1, 1, "x")
    assert deeds(database)[:2] == [(maker.id, "change", "applied"), (maker.id, "create", "applied")]


def test_a_scene_for_other_roles_is_not_opened(database):
    clerk = made(database, roles=("clerk", "user"))
    policy = Policy(POLICY.table, ROLES, APPS, scene_roles={"staff": compile_names(["slow"])})
    with pytest.raises(Forbidden, match="`staff`"):
        made(database, Writer(clerk.id, policy), roles=("slow",), models=["lab-*"])


def test_the_rate_of_an_app_and_the_default_one_bound_its_keys(database):
    for app, bound in (("lab", 100), ("shop", 600)):
        boss = made(database, app=app, roles=("admin",))
        made(database, writer(boss), app=app, limits={"rpm": bound})
        made(database, writer(boss), app=app)
        with refused("limits.rpm"):
            made(database, writer(boss), app=app, limits={"rpm": bound + 1})


def test_the_platform_makes_keys_for_apps_that_are_declared(database):
    boss = made(database, app="admin", roles=("admin",))
    assert made(database, writer(boss), app="lab", limits={"rpm": 10_000}).app == "lab"
    for fields in ({"app": "nowhere"}, {"roles": ("emperor",)}):
        with pytest.raises(Unprocessable, match=r"nowhere|emperor"):
            made(database, writer(boss), **fields)
    of_app = made(database, roles=("admin",))
    for app in ("admin", "lab", "nowhere"):
        with refused("app"):
            made(database, writer(of_app), app=app)


def test_nobody_touches_a_key_that_holds_more(database):
    clerk = made(database, roles=("clerk",))
    boss = made(database, roles=("admin",))
    for attempt in (
        lambda: change(database, boss, writer(clerk), name="mine"),
        lambda: rotate_key(database, boss.id, 0, writer(clerk)),
        lambda: revoke_key(database, boss.id, writer(clerk)),
    ):
        with refused("id"):
            attempt()
    assert get_key(database, boss.id) == boss
    revoke_key(database, clerk.id, writer(boss))


def test_other_apps_keys_are_as_good_as_absent(database):
    boss = made(database, roles=("admin",))
    other = made(database, app="lab")
    for attempt in (
        lambda id: change_key(database, id, lambda known: KeyFields(roles=("user",)), writer(boss)),
        lambda id: rotate_key(database, id, 0, writer(boss)),
        lambda id: revoke_key(database, id, writer(boss)),
        lambda id: get_key(database, id, "shop"),
    ):
        said = []
        for id in (other.id, "absent"):
            with pytest.raises(NotFound) as caught:
                attempt(id)
            said.append((caught.value.message.replace(id, "ID"), caught.value.reason, caught.value.param))
        assert said[0] == said[1]


def test_keys_make_keys_so_deep(database):
    key = made(database, roles=("admin",))
    for _ in range(MAX_DEPTH):
        key = made(database, writer(key), roles=("admin",))
    with pytest.raises(Forbidden, match="deep"):
        made(database, writer(key), roles=("admin",))


def test_a_writer_who_was_revoked_meanwhile_writes_nothing(database):
    boss = made(database, roles=("admin",))
    revoke_key(database, boss.id)
    with pytest.raises(Unauthenticated):
        made(database, writer(boss))


# rotation


def test_a_rotated_key_has_two_secrets_for_a_while(database):
    key, first = make_key(database, NewKey(app="shop", roles=("user",)), OPERATOR)
    after, second = rotate_key(database, key.id, 60, OPERATOR)
    ring = load_keys(database)
    assert ring.find(first.encode()) is ring.find(second.encode()) is not None
    assert after.prefix == second[3:11]
    with database.write() as connection:
        connection.execute(update(keys).values(previous_until=datetime.now(UTC) - timedelta(seconds=1)))
    ring = load_keys(database)
    assert ring.find(first.encode()) is None
    assert ring.find(second.encode()) is not None


def test_without_overlap_the_first_secret_ends_at_once_and_only_the_last_one_overlaps(database):
    key, first = make_key(database, NewKey(app="shop", roles=("user",)), OPERATOR)
    _, second = rotate_key(database, key.id, 60, OPERATOR)
    _, third = rotate_key(database, key.id, 60, OPERATOR)
    assert [load_keys(database).find(each.encode()) is not None for each in (first, second, third)] == [0, 1, 1]
    _, fourth = rotate_key(database, key.id, 0, OPERATOR)
    found = [load_keys(database).find(each.encode()) is not None for each in (first, second, third, fourth)]
    assert found == [0, 0, 0, 1]
    revoke_key(database, key.id)
    assert load_keys(database).find(fourth.encode()) is None


def test_an_expiry_ends_the_first_secret_too(database):
    key, first = make_key(
        database, settings_of({"app": "shop", "roles": ["user"], "expires_at": LATER.isoformat()}, NewKey), OPERATOR
    )
    rotate_key(database, key.id, 30 * 86_400, OPERATOR)
    ring = load_keys(database)
    ring._now_s = lambda: LATER.timestamp() - 1
    assert ring.find(first.encode()) is not None
    ring._now_s = LATER.timestamp
    assert ring.find(first.encode()) is None


def test_what_cannot_be_rotated_or_changed_says_why(database):
    ensure_admin(database, "3c1f9a7e5b2d8064-given-one")
    (given,) = list_keys(database)
    with pytest.raises(Conflict, match="DUJIANG_ADMIN_KEY"):
        rotate_key(database, given.id, 0, OPERATOR)
    key = made(database)
    with database.write() as connection:
        connection.execute(update(keys).where(keys.c.id == key.id).values(expires_at=keys.c.created_at))
    with pytest.raises(Conflict, match="expired"):
        rotate_key(database, key.id, 0, OPERATOR)
    revoke_key(database, key.id)
    for attempt in (lambda: rotate_key(database, key.id, 0, OPERATOR), lambda: change(database, key, name="x")):
        with pytest.raises(Conflict, match="revoked"):
            attempt()


def test_a_limited_key_may_rotate_itself_and_its_own_but_no_sibling(database):
    fields = {"roles": ("clerk", "user"), "limits": {"rpm": 5}}
    one, other = made(database, **fields), made(database, **fields)
    child = made(database, writer(one), **fields)
    rotate_key(database, one.id, 0, writer(one))
    rotate_key(database, child.id, 0, writer(one))
    with refused("id"):
        rotate_key(database, other.id, 0, writer(one))
    with refused("id"):
        rotate_key(database, one.id, 0, writer(child))


def test_another_admin_key_from_the_environment_is_a_whole_one_again(database):
    ensure_admin(database, "3c1f9a7e5b2d8064-given-one")
    (given,) = list_keys(database)
    change(database, given, roles=["user"], allowed_addresses=["10.0.0.1"], expires_at=LATER.isoformat())
    ensure_admin(database, "3c1f9a7e5b2d8064-given-two")
    (again,) = list_keys(database)
    assert (again.id, again.roles, again.allowed_addresses, again.expires_at) == (given.id, ("admin",), (), None)


# the list, the audit, the ring


def test_pages_have_every_key_once(database):
    made_ids = {made(database, app=app).id for app in ("shop", "lab", "shop")}
    seen, cursor = [], None
    while page := page_of_keys(database, None, cursor, 2):
        seen += [key.id for key in page]
        cursor = page[-1].id
    assert set(seen) == made_ids
    assert seen == sorted(seen, reverse=True)
    assert len(page_of_keys(database, "shop", None, 10)) == 2


def test_the_audit_tells_before_and_after_and_no_secret(database):
    key, secret = make_key(database, NewKey(app="shop", roles=("user",)), OPERATOR)
    change(database, key, name="till")
    _, other = rotate_key(database, key.id, 60, OPERATOR)
    revoke_key(database, key.id)
    rows = Audit(database).list(None, 10)
    assert [row.action for row in rows] == ["revoke", "rotate", "change", "create"]
    assert {row.subject for row in rows[:3]} == {f"keys.{key.id}"}
    assert (rows[2].before["name"], rows[2].after["name"]) == ("", "till")
    assert rows[3].before is None
    assert rows[0].after["revoked_at"] is not None
    with database.read() as connection:
        digests = connection.execute(select(keys.c.secret_hash, keys.c.previous_hash)).one()
    for hidden in (secret[11:], other[11:], *(digest.hex() for digest in digests if digest)):
        assert hidden not in repr(rows)


def test_the_ring_reads_what_changed_and_keeps_what_did_not(database):
    parent, _ = make_key(
        database, settings_of({"app": "shop", "roles": ["admin"], "limits": {"rpm": 5}}, NewKey), OPERATOR
    )
    _, child_secret = make_key(
        database,
        settings_of({"app": "shop", "roles": ["user"], "limits": {"rpm": 1}, "models": ["lab-*"]}, NewKey),
        writer(parent),
    )
    _, other_secret = create_key(database, app="lab", roles=["user"])
    first = load_keys(database)
    child, other = first.find(child_secret.encode()), first.find(other_secret.encode())
    assert [each.key_id for each in child.lineage] == [parent.id]
    change(database, parent, limits={"rpm": 4})
    second = load_keys(database, first)
    assert second.mark == first.mark + 1
    assert second.find(other_secret.encode()) is other
    assert second.find(child_secret.encode()).lineage[0].limits.rpm == 4
    assert load_keys(database, second).find(child_secret.encode()) is second.find(child_secret.encode())
    revoke_key(database, parent.id)
    third = load_keys(database, second)
    assert third.find(child_secret.encode()).lineage[0].limits.rpm == 4
    assert len(third) == 2
