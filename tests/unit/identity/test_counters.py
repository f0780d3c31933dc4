"""Which counters a call has to pass."""

from dujiang.core.call import Caller, ClaimedUser
from dujiang.core.limits import Bound
from dujiang.core.settings import Limits
from dujiang.identity.counters import Counters
from dujiang.identity.roles import compile_roles
from dujiang.identity.settings import AppSettings, LimitSettings, RoleSettings
from dujiang.identity.users import User, Users

ROLES = {
    "admin": RoleSettings(permissions=("*",)),
    "user": RoleSettings(permissions=("chat:call",), limits=LimitSettings(rpm=60, concurrency=4)),
    "guest": RoleSettings(permissions=("chat:call",), limits=LimitSettings(rpm=6, max_tokens=256)),
    "reader": RoleSettings(permissions=("records:read",), limits=LimitSettings(rpm=1)),
}
APPS = {"shop": AppSettings(limits=LimitSettings(rpm=100)), "lab": AppSettings()}
DEFAULT = LimitSettings(rpm=600, tpm=200_000)


def bounds_of(caller, *, role=None, user=None, default=DEFAULT):
    rights = compile_roles(ROLES, APPS).rights(caller, role)
    return Counters(ROLES, APPS, default, Users()).bounds(caller, rights, ClaimedUser(user_id=user, user_role=role))


def caller(*roles, app="lab", **more):
    return Caller("k", app, roles or ("admin",), **more)


def test_a_key_of_an_app_without_limits_has_the_default():
    assert bounds_of(caller()) == (Bound("key:k", 600, 200_000),)


def test_nothing_is_counted_where_nothing_is_limited():
    assert bounds_of(caller(), default=LimitSettings()) == ()


def test_each_limit_of_a_key_is_the_most_specific():
    found = bounds_of(caller(app="shop", limits=Limits(concurrency=2)))
    assert found == (Bound("key:k", 100, 200_000, 2), Bound("app:shop", 100))
    assert bounds_of(caller(app="shop", limits=Limits(rpm=7)))[0] == Bound("key:k", 7, 200_000)


def test_a_role_has_a_counter_for_each_user_of_each_app():
    assert bounds_of(caller("user"), user="u1")[1:] == (Bound("role:user|user:lab/u1", 60, None, 4),)
    assert bounds_of(caller("user"), user="u2")[1:] == (Bound("role:user|user:lab/u2", 60, None, 4),)


def test_a_role_has_a_counter_for_each_key_where_no_user_is_named():
    assert bounds_of(caller("user"))[1:] == (Bound("role:user|key:k", 60, None, 4),)


def test_the_claimed_role_counts_beside_the_key_s_own():
    subjects = [bound.subject for bound in bounds_of(caller("user"), role="guest", user="u")]
    assert subjects == ["key:k", "role:guest|user:lab/u", "role:user|user:lab/u"]


def test_only_roles_that_let_the_call_be_made_count():
    assert [bound.subject for bound in bounds_of(caller("user", "reader"))] == ["key:k", "role:user|key:k"]


def test_a_key_counts_for_the_keys_that_made_it():
    maker = Caller("maker", "lab", ("admin",), limits=Limits(rpm=5))
    idle = Caller("idle", "lab", ("admin",))
    assert bounds_of(caller(lineage=(idle, maker))) == (Bound("key:k", 600, 200_000), Bound("key:maker", 5))


def test_no_subject_comes_twice():
    bounds = bounds_of(caller("user", "guest", app="shop"), role="user", user="u")
    assert len({bound.subject for bound in bounds}) == len(bounds) == 4


def test_a_user_may_have_limits_of_their_own():
    users = Users([User("lab", "u", limits=LimitSettings(rpm=2))])
    counters = Counters(ROLES, APPS, LimitSettings(), users)
    rights = compile_roles(ROLES, APPS).rights(caller(), None)
    assert counters.bounds(caller(), rights, ClaimedUser("u")) == (Bound("user:lab/u", 2),)
    assert counters.bounds(caller(), rights, ClaimedUser("v")) == ()
    assert counters.bounds(caller(app="shop"), rights, ClaimedUser("u"))[-1] == Bound("app:shop", 100)
