"""Secrets at rest: for their own provider only, under a known key only, and in no other place."""

import sqlite3
from datetime import UTC, datetime

import pytest
from sqlalchemy import select, update

from dujiang.core.binding import Binding
from dujiang.core.errors import InvalidRequest, Misconfigured, NotFound
from dujiang.core.secret import Secret
from dujiang.migrations import upgrade
from dujiang.storage.database import connect, sqlite_url
from dujiang.storage.encryption import EncryptionKey, Keychain
from dujiang.storage.secrets import SecretStore
from dujiang.storage.tables import secrets

VALUE = "sk-Canary0Stored1Value2Xr5"
OPENAI = Binding("openai", "https://api.openai.com:443")
EVIL = Binding("openai", "https://evil.example:443")
NOW = datetime(2026, 11, 25, 8, tzinfo=UTC)
KEY, OTHER_KEY = EncryptionKey(b"k" * 32), EncryptionKey(b"o" * 32)


@pytest.fixture
def database(tmp_path):
    with connect(sqlite_url(tmp_path)) as database:
        upgrade(database)
        yield database


@pytest.fixture
def store(database):
    return SecretStore(database, Keychain(KEY), now=lambda: NOW)


def put(store, name="main", value=VALUE, binding=OPENAI):
    store.put(name, Secret(value), binding, by="somebody")


def reason_of(store, name="main", binding=OPENAI):
    with pytest.raises(Misconfigured) as refused:
        store.reveal(name, binding)
    assert VALUE not in refused.value.message
    return refused.value.reason


def change(database, which="main", **values):
    with database.write() as connection:
        connection.execute(update(secrets).where(secrets.c.name == which).values(values))


def test_a_secret_comes_back_for_its_own_binding(store):
    put(store)
    assert store.reveal("main", OPENAI).reveal() == VALUE
    put(store, value="sk-second")
    assert store.reveal("main", OPENAI).reveal() == "sk-second"


@pytest.mark.parametrize(
    "other",
    [
        EVIL,
        Binding("deepseek", OPENAI.origin),
        Binding("openai", "http://api.openai.com:443"),
        Binding("openai", "https://api.openai.com:8443"),
        Binding("openai", ""),
    ],
)
def test_it_goes_nowhere_else(store, other):
    put(store)
    assert reason_of(store, binding=other) == "foreign_secret"


def test_what_is_not_there_is_named(store):
    with pytest.raises(Misconfigured, match="`lost`") as refused:
        store.reveal("lost", OPENAI)
    assert refused.value.reason == "no_secret"


def test_what_anybody_may_see_is_all_but_the_value(store):
    put(store, name="b")
    put(store, name="a", binding=EVIL)
    first, second = store.names()
    assert [first.name, second.name] == ["a", "b"]
    assert (second.binding, second.key_id) == (OPENAI, KEY.id)
    assert (second.created_at, second.created_by, second.is_sealed) == (NOW, "somebody", False)
    assert VALUE not in repr(store.names())


def test_the_database_holds_no_value_and_no_key(store, database, tmp_path):
    put(store)
    store.seal(Secret(VALUE + "-sealed"), OPENAI)
    database.close()
    stored = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert b"api.openai.com" in stored
    for canary in (VALUE[:14].encode(), b"k" * 32):
        assert canary not in stored


def test_a_row_moved_or_changed_in_the_database_is_not_believed(store, database):
    put(store, name="mine", value="sk-mine", binding=EVIL)
    put(store)
    with database.read() as connection:
        row = connection.execute(select(secrets).where(secrets.c.name == "main")).one()
    text = {"nonce": row.nonce, "ciphertext": row.ciphertext}
    change(database, "mine", **text)  # its text in a row that is bound to me
    assert reason_of(store, "mine", EVIL) == "damaged_secret"
    change(database, kind=EVIL.kind, origin=EVIL.origin)  # its row, bound anew
    assert reason_of(store, binding=EVIL) == "damaged_secret"
    change(database, kind=OPENAI.kind, origin=OPENAI.origin)
    assert store.reveal("main", OPENAI).reveal() == VALUE
    change(database, name="renamed")
    assert reason_of(store, "renamed") == "damaged_secret"


@pytest.mark.parametrize(
    "values", [{"nonce": b""}, {"nonce": b"0" * 12}, {"ciphertext": b""}, {"ciphertext": b"short"}]
)
def test_a_row_that_is_no_row_of_ours_is_damaged(store, database, values):
    put(store)
    change(database, **values)
    assert reason_of(store) == "damaged_secret"


def test_equal_values_are_not_seen_to_be_equal(store, database):
    put(store, name="a")
    put(store, name="b")
    with database.read() as connection:
        rows = connection.execute(select(secrets.c.nonce, secrets.c.ciphertext)).all()
    assert len({row.nonce for row in rows}) == len({row.ciphertext for row in rows}) == 2


def test_deleting(store):
    put(store)
    store.delete("main")
    assert store.names() == []
    with pytest.raises(NotFound, match="`main`"):
        store.delete("main")


@pytest.mark.parametrize("name", ["", "a b", "a/b", "../x", "-a", "a" * 65, "a\n", "sealed-1", "名 称"])
def test_names_that_no_reference_could_hold_are_refused(store, name):
    with pytest.raises(InvalidRequest):
        put(store, name=name)
    assert store.names() == []


@pytest.mark.parametrize(
    "value", ["", "x" * 8193, "a b", "a\n", "密钥", "a\0", "***", "${KEY}", "${KEY:-x}", "secret:other"]
)
def test_values_that_nobody_could_send_are_refused_and_not_repeated(store, value):
    with pytest.raises(InvalidRequest) as refused:
        put(store, value=value)
    assert len(value) < 2 or value not in refused.value.message
    with pytest.raises(InvalidRequest):
        store.seal(Secret(value), OPENAI)
    assert store.names() == []


def test_names_of_every_script_and_values_of_full_length_are_taken(store):
    put(store, name="主要.key_1-b", value="x" * 8192)
    assert store.reveal("主要.key_1-b", OPENAI).reveal() == "x" * 8192


# sealed literals


def test_a_sealed_literal_is_bound_and_kept_once(store):
    reference = store.seal(Secret(VALUE), OPENAI)
    assert store.seal(Secret(VALUE), OPENAI) == reference
    name = reference.removeprefix("secret:")
    assert store.reveal(name, OPENAI).reveal() == VALUE
    assert reason_of(store, name, EVIL) == "foreign_secret"
    (found,) = store.names()
    assert found.is_sealed


def test_another_value_another_binding_or_another_key_has_another_reference(store, database):
    other = SecretStore(database, Keychain(OTHER_KEY))
    references = {
        store.seal(Secret(VALUE), OPENAI),
        store.seal(Secret(VALUE), EVIL),
        store.seal(Secret(VALUE + "x"), OPENAI),
        other.seal(Secret(VALUE), OPENAI),
    }
    assert len(references) == 4


# keys


def test_an_unknown_key_is_named_by_its_id_alone(store, database):
    put(store)
    stranger = SecretStore(database, Keychain(OTHER_KEY))
    with pytest.raises(Misconfigured, match=KEY.id) as refused:
        stranger.reveal("main", OPENAI)
    assert refused.value.reason == "unknown_key"
    assert "DUJIANG_SECRET_KEY_OLD" in refused.value.message
    assert VALUE not in refused.value.message


def test_a_key_prints_as_its_id():
    assert repr(KEY) == f"EncryptionKey({KEY.id})"
    assert EncryptionKey(b"k" * 32).id == KEY.id != OTHER_KEY.id
    assert len(KEY.id) == 16


def test_an_older_key_reads_but_does_not_write(store, database):
    put(store)
    both = SecretStore(database, Keychain(OTHER_KEY, KEY))
    assert both.reveal("main", OPENAI).reveal() == VALUE
    put(both, name="new")
    assert {each.name: each.key_id for each in both.names()} == {"main": KEY.id, "new": OTHER_KEY.id}


def test_rotation_leaves_nothing_under_the_old_key(store, database):
    for n in range(1203):
        put(store, name=f"s{n}", value=f"sk-{n}")
    reference = store.seal(Secret(VALUE), OPENAI)
    both = SecretStore(database, Keychain(OTHER_KEY, KEY), now=lambda: NOW)
    before = [(each.name, each.binding, each.created_at, each.created_by) for each in both.names()]
    assert both.rotate() == 1204
    assert both.rotate() == 0
    alone = SecretStore(database, Keychain(OTHER_KEY))
    assert {each.key_id for each in alone.names()} == {OTHER_KEY.id}
    assert [(each.name, each.binding, each.created_at, each.created_by) for each in alone.names()] == before
    assert all(alone.reveal(f"s{n}", OPENAI).reveal() == f"sk-{n}" for n in range(1203))
    assert alone.reveal(reference.removeprefix("secret:"), OPENAI).reveal() == VALUE
    assert reason_of(store, "s0") == "unknown_key"


@pytest.mark.parametrize("fault", ["unknown key", "damaged row"])
def test_a_rotation_that_cannot_end_changes_nothing(store, database, fault):
    for n in range(20):
        put(store, name=f"s{n:02}", value=f"sk-{n}")
    if fault == "unknown key":
        put(SecretStore(database, Keychain(EncryptionKey(b"lost" * 8))), name="z")
    else:
        put(store, name="z")
        change(database, "z", ciphertext=b"nothing")
    with pytest.raises(Misconfigured, match="`z`"):
        SecretStore(database, Keychain(OTHER_KEY, KEY)).rotate()
    assert all(store.reveal(f"s{n:02}", OPENAI).reveal() == f"sk-{n}" for n in range(20))


def test_a_failing_statement_shows_no_ciphertext(store, database, tmp_path):
    put(store)
    with sqlite3.connect(tmp_path / "dujiang.db") as direct:
        direct.execute("CREATE TRIGGER no BEFORE INSERT ON secrets BEGIN SELECT RAISE(ABORT, 'no'); END")
    with pytest.raises(Exception, match="no") as refused:
        put(store, name="b")
    assert VALUE not in str(refused.value)
    assert "parameters hidden" in str(refused.value)
