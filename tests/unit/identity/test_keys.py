"""Keys in the database and in memory."""

import re
from datetime import UTC, datetime, timedelta
from math import inf

import pytest
from sqlalchemy import update

from dujiang.core.call import Caller
from dujiang.core.errors import InvalidRequest, NotFound
from dujiang.identity.admin_key import ensure_admin
from dujiang.identity.key_ring import KeyRing, load_keys
from dujiang.identity.keys import create_key, hash_secret, list_keys, new_secret, prefix_of, revoke_key
from dujiang.identity.tables import keys
from dujiang.migrations import upgrade
from dujiang.storage.database import connect, sqlite_url


@pytest.fixture
def database(tmp_path):
    with connect(sqlite_url(tmp_path)) as database:
        upgrade(database)
        yield database


def test_secrets_are_long_random_and_fit_a_header():
    made = {new_secret() for _ in range(500)}
    assert len(made) == 500
    assert all(re.fullmatch(r"dj-[A-Za-z0-9]{40}", secret) for secret in made)
    assert len({prefix_of(secret) for secret in made}) == 500


def test_a_created_key_is_found_by_its_secret(database):
    key_id, secret = create_key(database, app="shop", roles=["user", "guest"], name="till")
    ring = load_keys(database)
    caller = ring.find(secret.encode())
    assert caller is not None
    assert (caller.key_id, caller.app, caller.roles) == (key_id, "shop", ("user", "guest"))
    assert len(ring) == 1


def test_the_list_shows_keys_without_their_secrets(database):
    key_id, secret = create_key(database, app="shop", roles=["user"], name="till")
    (key,) = list_keys(database)
    assert (key.id, key.app, key.roles, key.name, key.origin) == (key_id, "shop", ("user",), "till", "created")
    assert key.prefix == secret[3:11]
    assert key.created_at.tzinfo is UTC
    assert secret[11:] not in repr(key)


def test_a_revoked_key_is_not_loaded_and_stays_listed(database):
    key_id, secret = create_key(database, app="shop", roles=["user"])
    revoke_key(database, key_id)
    (first,) = list_keys(database)
    revoke_key(database, key_id)
    assert list_keys(database) == [first]
    assert first.revoked_at is not None
    assert load_keys(database).find(secret.encode()) is None


def test_revoking_what_is_not_there_says_so(database):
    with pytest.raises(NotFound, match="`k' OR 1=1`"):
        revoke_key(database, "k' OR 1=1")


@pytest.mark.parametrize(
    "odd",
    [{"app": ""}, {"app": "x" * 65}, {"roles": []}, {"roles": [""]}, {"roles": ["x" * 65]}, {"name": "x" * 201}],
)
def test_names_have_their_lengths(database, odd):
    with pytest.raises(InvalidRequest):
        create_key(database, **{"app": "shop", "roles": ["user"]} | odd)
    assert list_keys(database) == []


def test_a_key_ends_at_its_moment(database):
    _, secret = create_key(database, app="shop", roles=["user"])
    expiry = datetime(2030, 1, 1, tzinfo=UTC)
    with database.write() as connection:
        connection.execute(update(keys).values(expires_at=expiry, act_as_user=False))
    ring = load_keys(database)
    found = ring.find(secret.encode())
    assert found is not None
    assert not found.act_as_user
    (key,) = list_keys(database)
    assert key.is_usable(expiry - timedelta(microseconds=1))
    assert not key.is_usable(expiry)


def test_the_ring_asks_its_clock():
    now = [99.0]
    someone = Caller(key_id="k", app="shop", roles=())
    ring = KeyRing({hash_secret(b"a"): (someone, 100.0), hash_secret(b"b"): (someone, inf)}, now_s=lambda: now[0])
    assert ring.find(b"a") is someone
    now[0] = 100.0
    assert ring.find(b"a") is None
    assert ring.find(b"b") is someone
    assert ring.find(b"") is None
    assert ring.find(b"a" * 10_000) is None


def test_a_hash_is_no_secret(database):
    _, secret = create_key(database, app="shop", roles=["user"])
    digest = hash_secret(secret.encode())
    ring = load_keys(database)
    assert ring.find(digest) is None
    assert ring.find(digest.hex().encode()) is None


def test_no_secret_is_in_the_files(tmp_path):
    given = "dj-canary-for-the-administrator-91c2"
    with connect(sqlite_url(tmp_path)) as database:
        upgrade(database)
        made = ensure_admin(database, None)
        ensure_admin(database, given)
        _, created = create_key(database, app="shop", roles=["user"])
        stored = b"".join(path.read_bytes() for path in tmp_path.iterdir())
        assert prefix_of(created).encode() in stored
        for secret in (made, given, created):
            assert secret is not None
            for start in (0, 3, 11):
                assert secret[start : start + 16].encode() not in stored
