"""What a call may do, for the roles of the example document."""

import pytest

from dujiang.core.call import Caller
from dujiang.core.errors import Forbidden
from dujiang.identity import roles as roles_module
from dujiang.identity.permissions import PERMISSIONS, PLATFORM_ONLY
from dujiang.identity.roles import compile_roles
from dujiang.identity.settings import AppSettings, LimitSettings, RoleSettings

ROLES = {
    "admin": RoleSettings(permissions=("*",)),
    "operator": RoleSettings(permissions=("records:read", "health:read", "cache:*")),
    "developer": RoleSettings(permissions=("chat:call", "schedule:call", "scenes:*", "models:read")),
    "user": RoleSettings(
        permissions=("chat:call", "schedule:call"), models=("gpt-4o-mini", "local", "auto:*"), scenes=("scene_1",)
    ),
    "guest": RoleSettings(permissions=("chat:call",), models=("local",), limits=LimitSettings(max_tokens=256)),
    "planner": RoleSettings(permissions=("schedule:call",), limits=LimitSettings(max_tokens=64)),
}
APPS = {
    "shop": AppSettings(models=("gpt-4o-mini", "lab-*"), scenes=("scene_1",), limits=LimitSettings(max_tokens=1000)),
    "open": AppSettings(unknown_role="guest"),
    "broken": AppSettings(unknown_role="nobody"),
    "admin": AppSettings(models=("nothing",)),
}


@pytest.fixture
def table():
    return compile_roles(ROLES, APPS)


def caller(*roles, app="free"):
    return Caller(key_id="k", app=app, roles=roles)


def test_the_admin_may_do_everything(table):
    rights = table.rights(caller("admin", app="admin"), None)
    assert rights.permissions == PERMISSIONS
    assert rights.allows_model("any")
    assert rights.allows_scene("any")
    assert rights.max_tokens is None


def test_the_role_admin_in_another_app_is_not_the_platform_s(table):
    assert table.rights(caller("admin", app="shop"), None).permissions == PERMISSIONS - PLATFORM_ONLY


def test_a_claimed_role_narrows(table):
    rights = table.rights(caller("admin", app="admin"), "guest")
    assert rights.permissions == {"chat:call"}
    assert rights.allows_model("local")
    assert not rights.allows_model("gpt-4")
    assert rights.max_tokens == 256


def test_a_claimed_role_never_widens(table):
    rights = table.rights(caller("guest"), "admin")
    assert rights.permissions == {"chat:call"}
    assert not rights.allows_model("gpt-4")
    assert rights.max_tokens == 256


@pytest.mark.parametrize("claimed", ["root", "", "Admin", "admin ", "x" * 10_000])
def test_an_unknown_claimed_role_is_refused_by_name(table, claimed):
    with pytest.raises(Forbidden) as caught:
        table.rights(caller("admin", app="admin"), claimed)
    assert f"`{claimed[:100]}`" in caught.value.message
    assert caught.value.param == "user_info.user_role"


def test_an_app_may_name_what_unknown_roles_count_as(table):
    known = caller("developer", app="open")
    assert table.rights(known, "whoever") == table.rights(known, "guest")
    with pytest.raises(Forbidden, match="`whoever`"):
        table.rights(caller("developer", app="broken"), "whoever")


def test_an_app_narrows_models_scenes_and_tokens(table):
    rights = table.rights(caller("developer", app="shop"), None)
    assert [name for name in ("gpt-4o-mini", "lab-7b", "gpt-4", "auto") if rights.allows_model(name)] == [
        "gpt-4o-mini",
        "lab-7b",
    ]
    assert rights.allows_scene("scene_1")
    assert not rights.allows_scene("summary")
    assert rights.max_tokens == 1000


def test_a_key_without_living_roles_may_do_nothing(table):
    for roles in ((), ("gone",)):
        rights = table.rights(caller(*roles), None)
        assert rights.permissions == frozenset()
        assert not rights.allows_model("local")
        assert not rights.allows_scene("scene_1")


def test_roles_add_up(table):
    rights = table.rights(caller("user", "guest", "gone"), None)
    assert rights.permissions == {"chat:call", "schedule:call"}
    assert rights.allows_model("auto")
    assert rights.max_tokens == 256


def test_a_role_lends_its_models_only_to_what_it_permits(table):
    reader = caller("operator", "guest", app="admin")
    assert not table.rights(reader, None, "chat:call").allows_model("gpt-4")
    assert table.rights(reader, None, "records:read").allows_model("gpt-4")
    planner = caller("planner", "guest")
    assert table.rights(planner, None, "schedule:call").allows_model("gpt-4")
    assert table.rights(planner, None, "schedule:call").max_tokens == 64
    assert not table.rights(planner, None, "chat:call").allows_model("gpt-4")


def test_a_changed_key_gets_other_rights_at_once(table):
    assert table.rights(caller("user"), None).permissions
    assert table.rights(caller("gone"), None).permissions == frozenset()


def test_what_is_remembered_is_bounded(table):
    limit = roles_module.MAX_REMEMBERED
    for number in range(limit + 10):
        table.rights(Caller(key_id=str(number), app="open", roles=("user",)), "claimed-" + str(number))
    assert len(table._remembered) <= limit


@pytest.mark.parametrize(
    "role", [RoleSettings(permissions=("chat:fly",)), RoleSettings(permissions=("*",), models=("a*b",))]
)
def test_a_document_with_a_mistake_does_not_compile(role):
    with pytest.raises(ValueError, match="`"):
        compile_roles({"user": role}, {})


@pytest.mark.parametrize(
    ("roles", "app", "claimed", "held"),
    [
        (("user",), "free", None, [{"user"}]),
        (("user", "guest", "gone"), "free", None, [{"user", "guest"}]),
        (("user", "operator"), "free", None, [{"user"}]),
        (("user",), "free", "guest", [{"user"}, {"guest"}]),
        (("user",), "open", "emperor", [{"user"}, {"guest"}]),
        (("admin",), "free", None, []),
        (("admin",), "admin", "guest", [{"guest"}]),
        (("operator",), "free", None, [set()]),
    ],
)
def test_scenes_are_for_the_keys_roles_and_for_the_claimed_one(table, roles, app, claimed, held):
    assert [set(each) for each in table.rights(caller(*roles, app=app), claimed).roles] == held
