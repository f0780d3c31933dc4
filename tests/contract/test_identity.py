"""Keys and users are the same in every database."""

from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from dujiang.config.fields import patched, settings_of
from dujiang.identity.key_fields import KeyFields, NewKey
from dujiang.identity.key_ring import load_keys
from dujiang.identity.keys import OPERATOR, change_key, get_key, make_key, page_of_keys, revoke_key, rotate_key
from dujiang.identity.users import UserFields, Users, change_user, changed_users, note_seen, page_of_users
from dujiang.migrations import upgrade
from dujiang.storage.audit import Audit
from dujiang.storage.database import Database, connect

ALL = {
    "app": "shop",
    "roles": ["user"],
    "name": "收银台",
    "models": ["lab-*"],
    "limits": {"rpm": 1, "max_tokens": 4},
    "budget": {"amount": "0.000001", "currency": "CNY", "per": "total"},
    "expires_at": "2999-01-31T12:00:00.123456Z",
    "act_as_user": False,
    "allowed_addresses": ["2001:db8::/32"],
}


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    with connect(database_url) as database:
        upgrade(database)
        yield database


def test_a_key_s_life(database: Database) -> None:
    key, first = make_key(database, settings_of(ALL, NewKey), OPERATOR)
    assert get_key(database, key.id) == key
    ring = load_keys(database)
    caller = ring.find(first.encode())
    assert (caller.budget, caller.max_tokens) == (key.budget, 4)
    changed = change_key(database, key.id, lambda known: patched(known, {"budget": None}, KeyFields), OPERATOR)
    assert changed.budget is None
    _, second = rotate_key(database, key.id, 60, OPERATOR)
    ring = load_keys(database, ring)
    assert ring.find(first.encode()) is ring.find(second.encode()) is not None
    revoke_key(database, key.id)
    assert load_keys(database, ring).find(second.encode()) is None
    assert [each.id for each in page_of_keys(database, "shop", None, 10)] == [key.id]
    rows = Audit(database).list(None, 10)
    assert [row.action for row in rows] == ["revoke", "rotate", "change", "create"]
    assert rows[2].before["budget"] == {"amount": 1e-06, "currency": "CNY", "per": "total"}


def test_users(database: Database) -> None:
    noon = datetime(2026, 11, 25, 12, tzinfo=UTC)
    note_seen(database, {("shop", "u1"): noon, ("shop", "\x00"): noon})
    change_user(database, "shop", "u1", lambda known: patched(known, {"blocked": True}, UserFields), OPERATOR)
    change_user(database, "shop", "u2", lambda known: patched(known, {"limits": {"rpm": 1}}, UserFields), OPERATOR)
    users = Users()
    users.take(*changed_users(database, 0))
    assert users.find("shop", "u1").last_seen_at == noon
    assert [user.id for user in page_of_users(database, None, ("shop", "u1"), 10)] == ["u2"]
