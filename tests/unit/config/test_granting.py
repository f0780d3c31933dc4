"""What a document's author may not give by it, case by case. Whatever sequence: `tests/property/test_grants.py`."""

from datetime import UTC, datetime

import pytest

from dujiang.config.author import Author
from dujiang.config.checked import Checked
from dujiang.config.granting import require_no_grant
from dujiang.config.settings import Document
from dujiang.core.addresses import read_network
from dujiang.core.call import Caller, Rights
from dujiang.core.errors import Forbidden
from dujiang.core.settings import Budget
from dujiang.identity.permissions import PERMISSIONS
from dujiang.identity.settings import AppSettings, DefaultLimits, LimitSettings, RoleSettings
from dujiang.scenes.settings import SceneSettings, VersionSettings

BOSS = RoleSettings(permissions=("*",))
CHAT = RoleSettings(permissions=("chat:call",))
SLOW = RoleSettings(permissions=("chat:call",), limits=LimitSettings(rpm=10, max_tokens=10))

BOUNDS = [
    {"expires_at": datetime(2999, 1, 1, tzinfo=UTC)},
    {"networks": (read_network("10.0.0.0/8"),)},
    {"act_as_user": False},
]


def document(roles=None, apps=None, limits=DefaultLimits(), scenes=None):
    apps = {"shop": AppSettings()} if apps is None else apps
    return Document(roles={"boss": BOSS, **(roles or {})}, apps=apps, limits=limits, scenes=scenes or {})


def write(before, after, *roles, **bounds):
    caller = Caller("k", "admin", roles or ("boss",), **bounds)
    require_no_grant(Author("k", Rights(PERMISSIONS), caller), Checked({}, {}, before), Checked({}, {}, after))


def refused(param, before, after, *roles, **bounds):
    with pytest.raises(Forbidden) as caught:
        write(before, after, *roles, **bounds)
    assert (caught.value.reason, caught.value.param) == ("grant", param)
    return caught.value.message


def shop(**fields):
    return document(apps={"shop": AppSettings(**fields)})


@pytest.mark.parametrize("bounds", BOUNDS)
@pytest.mark.parametrize(
    ("param", "narrow", "wide"),
    [
        ("roles.r.permissions", document(), document(roles={"r": CHAT})),
        ("roles.r.permissions", document(roles={"r": SLOW}), document(roles={"r": CHAT})),
        ("apps.shop.permissions", shop(models=("lab-1",)), shop(models=("*",))),
        ("apps.shop.permissions", shop(limits=LimitSettings(rpm=10)), shop(limits=LimitSettings(rpm=1000))),
        ("apps.shop.permissions", shop(models=("lab-1",)), document(apps={})),
        ("apps.shop.permissions", document(limits=DefaultLimits(LimitSettings(rpm=10))), document()),
        (
            "apps.shop.budget",
            shop(budget=Budget(amount=1, currency="CNY", per="day")),
            shop(budget=Budget(amount=2, currency="CNY", per="day")),
        ),
    ],
)
def test_whose_key_is_bound_may_narrow_a_document_and_not_widen_it(param, narrow, wide, bounds):
    assert "never expires" in refused(param, narrow, wide, **bounds)
    write(narrow, wide)
    if narrow.apps.keys() == wide.apps.keys():
        write(wide, narrow, **bounds)


def test_whoever_is_held_to_a_role_may_not_take_its_limits_from_others():
    """A key with both roles would not be slow any more."""
    roles = {"chat": CHAT, "slow": SLOW}
    idle = RoleSettings(permissions=(), limits=SLOW.limits)
    for after in ({"chat": CHAT}, {"chat": CHAT, "slow": idle}):
        refused("roles.slow.limits", document(roles), document(after), "chat", "slow")
        refused("roles.slow.limits", document(roles), document(after), "nobody")
        write(document(roles), document(after), "chat")
    write(document({"chat": CHAT, "fast": CHAT}), document({"chat": CHAT}), "slow")


STAFF = {"staff": SceneSettings(versions=(VersionSettings(version=1, system="a"),), roles=("staff",))}
OPEN = RoleSettings(permissions=("chat:call", "schedule:call"), scenes=("open",))
FREE = RoleSettings(permissions=("chat:call", "schedule:call"))
IDLE = RoleSettings(permissions=(), scenes=("open",))
EVERY = RoleSettings(permissions=("*",), scenes=("open",))
BY_PARTS = RoleSettings(permissions=tuple(sorted(PERMISSIONS - {"chat:call", "schedule:call"})))


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (("clerk", OPEN), ("clerk", FREE)),
        (("clerk", None), ("clerk", FREE)),
        (("staff", IDLE), ("staff", OPEN)),
        (("clerk", OPEN), ("clerk", EVERY)),
    ],
    ids=["its scenes grow", "it is new", "a role of the scene may call", "it holds everything"],
)
def test_nobody_opens_by_a_role_what_is_not_for_theirs(before, after):
    """Keys combine roles: one lets them into the scene, and another brings the scene."""
    known = {"free": FREE, "rest": BY_PARTS}
    old, new = (
        document(known | ({} if role is None else {name: role}), scenes=STAFF) for name, role in (before, after)
    )
    assert "`staff`" in refused(f"roles.{after[0]}.roles", old, new, "free", "rest")
    write(old, new)


def test_nobody_opens_by_an_app_what_is_not_for_their_roles():
    roles = {"free": FREE, "staff": FREE}
    old, new = (document(roles, {"shop": AppSettings(scenes=scenes)}, scenes=STAFF) for scenes in (("open",), ("*",)))
    assert "`staff`" in refused("apps.shop.roles", old, new, "free")
    write(old, new, "staff")
    write(old, new)


def test_what_was_open_already_does_not_keep_an_app_from_growing():
    old, new = (document({"free": FREE}, {"shop": AppSettings(models=m)}, scenes=STAFF) for m in (("a",), ("a", "b")))
    write(old, new, "free")
