"""The rules of the first key."""

import pytest
from sqlalchemy import update

from dujiang.core.errors import Misconfigured
from dujiang.identity.admin_key import ensure_admin
from dujiang.identity.key_ring import load_keys
from dujiang.identity.keys import create_key, list_keys, revoke_key
from dujiang.identity.tables import keys
from dujiang.migrations import upgrade
from dujiang.storage.database import connect, sqlite_url

ONE = "3c1f9a7e5b2d8064-given-one"
OTHER = "3c1f9a7e5b2d8064-given-two"


@pytest.fixture
def database(tmp_path):
    with connect(sqlite_url(tmp_path)) as database:
        upgrade(database)
        yield database


def admin_of(database, secret):
    caller = load_keys(database).find(secret.encode())
    return caller is not None and (caller.app, caller.roles) == ("admin", ("admin",))


def test_the_first_start_makes_one_and_shows_it_once(database):
    secret = ensure_admin(database, None)
    assert secret is not None
    assert admin_of(database, secret)
    assert ensure_admin(database, None) is None
    assert len(list_keys(database)) == 1


def test_an_ordinary_key_does_not_stand_for_the_admin_s(database):
    create_key(database, app="shop", roles=["admin"])
    create_key(database, app="admin", roles=["operator"])
    assert ensure_admin(database, None) is not None


def test_another_admin_key_is_enough(database):
    create_key(database, app="admin", roles=["admin"])
    assert ensure_admin(database, None) is None


def test_after_the_last_one_was_revoked_a_new_one_is_made(database):
    first = ensure_admin(database, None)
    revoke_key(database, list_keys(database)[0].id)
    second = ensure_admin(database, None)
    assert first is not None
    assert second is not None
    assert not admin_of(database, first)
    assert admin_of(database, second)


def test_a_given_one_is_used_and_never_shown(database):
    assert ensure_admin(database, ONE) is None
    assert ensure_admin(database, ONE) is None
    (key,) = list_keys(database)
    assert admin_of(database, ONE)
    assert (key.origin, key.prefix) == ("environment", "")
    assert ensure_admin(database, None) is None
    assert admin_of(database, ONE)


def test_a_given_one_replaces_the_one_given_before_there_and_back(database):
    for given, before in ((ONE, OTHER), (OTHER, ONE), (ONE, OTHER)):
        ensure_admin(database, given)
        assert admin_of(database, given)
        assert not admin_of(database, before)
    assert len(list_keys(database)) == 1


def test_a_given_one_leaves_other_keys_alone(database):
    made = ensure_admin(database, None)
    ensure_admin(database, ONE)
    assert made is not None
    assert admin_of(database, made)


def test_the_printed_one_may_be_given(database):
    made = ensure_admin(database, None)
    assert made is not None
    ensure_admin(database, ONE)
    ensure_admin(database, made)
    assert admin_of(database, made)
    assert not admin_of(database, ONE)
    ensure_admin(database, OTHER)
    assert admin_of(database, made)
    assert admin_of(database, OTHER)


def test_a_start_does_not_undo_a_revocation(database):
    ensure_admin(database, ONE)
    revoke_key(database, list_keys(database)[0].id)
    with pytest.raises(Misconfigured, match="no usable admin key") as caught:
        ensure_admin(database, ONE)
    assert ONE not in caught.value.message
    ensure_admin(database, OTHER)
    assert admin_of(database, OTHER)
    assert not admin_of(database, ONE)


def test_the_secret_of_an_app_s_key_is_refused(database):
    key_id, secret = create_key(database, app="shop", roles=["admin"])
    with pytest.raises(Misconfigured, match=key_id):
        ensure_admin(database, secret)
    caller = load_keys(database).find(secret.encode())
    assert caller is not None
    assert (caller.key_id, caller.app, caller.roles) == (key_id, "shop", ("admin",))


def test_an_expired_one_is_not_enough(database):
    ensure_admin(database, None)
    with database.write() as connection:
        connection.execute(update(keys).values(expires_at=keys.c.created_at))
    assert ensure_admin(database, None) is not None


@pytest.mark.parametrize(
    ("given", "fault"),
    [
        ("", "24 to 512"),
        ("short", "24 to 512"),
        ("x" * 23, "24 to 512"),
        ("3c1f9a7e" * 100, "24 to 512"),
        ("x" * 24, "repeats"),
        ("abcdabcdabcdabcdabcdabcd", "repeats"),
        ("changeme-changeme-changeme", "example"),
        ("please-CHANGE_ME-before-production", "example"),
        ("<your-admin-key-goes-here>", "example"),
        ("an-example-of-an-admin-key", "example"),
        ("password1234567890password", "example"),
        (" 3c1f9a7e5b2d8064-given-one", "ASCII"),
        ("3c1f9a7e5b2d8064-given-one\n", "ASCII"),
        ("3c1f9a7e5b2d8064-given-密钥", "ASCII"),
        ("3c1f9a7e5b2d8064-given-\udcff", "ASCII"),
        ("3c1f9a7e5b2d8064-given-\x00", "ASCII"),
    ],
)
def test_a_weak_one_refuses_to_start(database, given, fault):
    with pytest.raises(Misconfigured, match=fault) as caught:
        ensure_admin(database, given)
    assert caught.value.param == "DUJIANG_ADMIN_KEY"
    assert not given or given not in caught.value.message
    assert list_keys(database) == []


@pytest.mark.parametrize("given", ["admin-key-for-tests-0123456789", "0" * 16 + "12345678", "dj-" + "k1J2h3G4" * 5])
def test_a_fair_one_is_taken(database, given):
    ensure_admin(database, given)
    assert admin_of(database, given)
