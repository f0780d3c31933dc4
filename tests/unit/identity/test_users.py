"""Users: what is said of them, who was seen, and how it narrows calls."""

import asyncio
from datetime import UTC, datetime

import pytest

from dujiang.config.fields import patched
from dujiang.core.call import Call, Caller, ClaimedUser, ParsedChat
from dujiang.core.chat import ChatRequest, Message
from dujiang.core.errors import Forbidden, NotFound, Unprocessable
from dujiang.identity.grants import Policy
from dujiang.identity.keys import OPERATOR, Writer, create_key
from dujiang.identity.roles import compile_roles
from dujiang.identity.settings import AppSettings, LimitSettings, RoleSettings
from dujiang.identity.stage import admit
from dujiang.identity.users import User, UserFields, Users, change_user, changed_users, note_seen, page_of_users
from dujiang.migrations import upgrade
from dujiang.storage.database import connect, sqlite_url

ROLES = {
    "admin": RoleSettings(permissions=("*",)),
    "user": RoleSettings(permissions=("chat:call",), models=("lab-*",)),
    "guest": RoleSettings(permissions=("chat:call",), models=("local",), limits=LimitSettings(max_tokens=256)),
    "reader": RoleSettings(permissions=("records:read",)),
}
APPS = {"shop": AppSettings(), "open": AppSettings(unknown_role="guest")}
TABLE = compile_roles(ROLES, APPS)
POLICY = Policy(TABLE, ROLES, APPS)
NOON = datetime(2026, 11, 25, 12, tzinfo=UTC)


@pytest.fixture
def database(tmp_path):
    with connect(sqlite_url(tmp_path)) as database:
        upgrade(database)
        yield database


def say(database, app, id, by=OPERATOR, **patch):
    return change_user(database, app, id, lambda known: patched(known, patch, UserFields), by)


def rights(users, *, user="u1", role=None, app="shop", roles=("admin",)):
    call = Call("id", "chat", lambda body: None, Caller("k", app, roles), 0.0, 60.0, 1)
    call.parsed = ParsedChat(ChatRequest("m", [Message("user", "hi")]), ClaimedUser(user, role))

    async def answer(call):
        return None

    async def run():
        await admit(TABLE, "chat:call", users)(answer)(call)

    asyncio.run(run())
    return call.rights


# how it narrows


@pytest.mark.parametrize("users", [None, Users(), Users([User("shop", "u2", blocked=True), User("lab", "u1", True)])])
def test_of_whom_nothing_is_said_nothing_is_narrowed(users):
    assert rights(users).permissions == rights(users, user=None).permissions
    assert rights(users).allows_model("any")


@pytest.mark.parametrize("role", [None, "user", "emperor"])
def test_a_blocked_user_is_refused(role):
    users = Users([User("shop", "u1", blocked=True)])
    with pytest.raises(Forbidden) as caught:
        rights(users, role=role)
    assert (caught.value.reason, caught.value.param) == ("user_blocked", "user_info.user_id")
    rights(users, user=None)
    rights(users, user="U1")
    rights(users, app="lab")


def test_a_users_own_roles_narrow_to_any_of_them():
    users = Users([User("shop", "u1", roles=("guest", "user", "gone"))])
    found = rights(users)
    assert found.permissions == {"chat:call"}
    assert [found.allows_model(name) for name in ("local", "lab-7b", "gpt-4")] == [True, True, False]
    assert found.max_tokens == 256
    assert not rights(users, roles=("guest",)).allows_model("lab-7b")
    assert rights(users) is not rights(users, user="u2")


def test_a_claimed_role_must_be_one_of_the_users_own():
    users = Users([User("shop", "u1", roles=("guest",)), User("open", "u1", roles=("guest",))])
    assert rights(users, role="guest").allows_model("local")
    for app, role in (("shop", "user"), ("shop", "emperor"), ("open", "emperor")):
        with pytest.raises(Forbidden) as caught:
            rights(users, app=app, role=role)
        assert (caught.value.reason, caught.value.param) == ("user_role", "user_info.user_role")


@pytest.mark.parametrize("roles", [("gone",), ("reader",)])
def test_roles_that_give_nothing_give_nothing(roles):
    with pytest.raises(Forbidden, match="`chat:call`"):
        rights(Users([User("shop", "u1", roles=roles)]))


# what is kept


def test_a_user_from_first_sight_to_last(database):
    note_seen(database, {("shop", "u1"): NOON, ("shop", "not\nshown"): NOON, ("shop", "\x00"): NOON})
    (seen,) = page_of_users(database, None, None, 10)
    assert (seen.id, seen.last_seen_at, seen.is_ordinary) == ("u1", NOON, True)
    blocked = say(database, "shop", "u1", blocked=True, limits={"rpm": 5})
    assert (blocked.blocked, blocked.last_seen_at) == (True, NOON)
    note_seen(database, {("shop", "u1"): NOON.replace(hour=13)})
    (after,) = page_of_users(database, "shop", None, 10)
    assert (after.blocked, after.limits.rpm, after.last_seen_at.hour) == (True, 5, 13)
    said = say(
        database, "shop", "u1", limits={"tpm": 7}, roles=["user"], budget={"amount": 1, "currency": "CNY", "per": "day"}
    )
    assert (said.blocked, said.limits.rpm, said.limits.tpm, said.budget.amount) == (True, 5, 7, 1)
    assert say(
        database, "shop", "u1", blocked=False, limits={"rpm": None, "tpm": None}, roles=[], budget=None
    ).is_ordinary


def test_followers_get_what_changed(database):
    users = Users()
    note_seen(database, {("shop", "seen"): NOON})
    say(database, "shop", "u1", blocked=True)
    users.take(*changed_users(database, users.mark))
    assert users.find("shop", "u1").blocked
    assert users.find("shop", "seen") is None
    before = users.mark
    say(database, "shop", "u1", blocked=False)
    found, mark = changed_users(database, before)
    assert [user.id for user in found] == ["u1"]
    users.take(found, mark)
    assert not users.known
    users.take([User("shop", "u1", blocked=True)], before)
    assert not users.known


def test_pages_go_by_app_and_id(database):
    wanted = [("a", "1"), ("a", "2"), ("a/b", "1"), ("b", "0"), ("b", "文")]
    for app, id in reversed(wanted):
        say(database, app, id)
    found, after = [], None
    while page := page_of_users(database, None, after, 2):
        found += [(user.app, user.id) for user in page]
        after = found[-1]
    assert found == wanted


def test_an_app_says_things_of_its_own_users_only(database):
    by = Writer(create_key(database, app="shop", roles=["admin"])[0], POLICY)
    assert say(database, "shop", "new", by, blocked=True).blocked
    say(database, "lab", "theirs", blocked=True)
    for id in ("theirs", "absent"):
        with pytest.raises(NotFound, match=f"There is no user `{id}`"):
            say(database, "lab", id, by, blocked=False)
    with pytest.raises(Unprocessable, match="`emperor`"):
        say(database, "shop", "new", by, roles=["emperor"])
    for id in ("", "x" * 201, "a\nb"):
        with pytest.raises(NotFound):
            say(database, "shop", id, by)
