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

BOSS = RoleSettings(permissions=("*",))
CHAT = RoleSettings(permissions=("chat:call",))
SLOW = RoleSettings(permissions=("chat:call",), limits=LimitSettings(rpm=10, max_tokens=10))

BOUNDS = [
    {"expires_at": datetime(2999, 1, 1, tzinfo=UTC)},
    {"networks": (read_network("10.0.0.0/8"),)},
    {"act_as_user": False},
]


def document(roles=None, apps=None, limits=DefaultLimits()):
    apps = {"shop": AppSettings()} if apps is None else apps
    return Document(roles={"boss": BOSS, **(roles or {})}, apps=apps, limits=limits)


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
