"""Whatever is combined, a call never has more than each of its parts."""

from hypothesis import given
from hypothesis import strategies as st

from dujiang.core.call import Caller
from dujiang.core.errors import Forbidden
from dujiang.identity.permissions import PLATFORM_ONLY, expand
from dujiang.identity.roles import compile_roles
from dujiang.identity.settings import AppSettings, LimitSettings, RoleSettings

ROLE_NAMES = ["r1", "r2", "r3"]
APP_NAMES = ["admin", "a1", "a2"]
ASKED = ["chat:call", "records:read", "config:read", "schedule:call"]
MODELS = ["auto", "auto:default", "auto:x", "gpt-4", "gpt-4o", "lab-7b", "local"]

patterns = st.lists(st.sampled_from(["*", "gpt-*", "gpt-4*", "auto:*", "auto*", *MODELS]), max_size=3, unique=True).map(
    tuple
)
permissions = st.lists(
    st.sampled_from(["*", "chat:*", "chat:call", "records:*", "records:read", "config:read"]),
    min_size=1,
    max_size=3,
    unique=True,
).map(tuple)
limits = st.builds(LimitSettings, max_tokens=st.none() | st.integers(1, 1000))
some_role = st.builds(RoleSettings, permissions=permissions, models=patterns, scenes=patterns, limits=limits)
roles = st.fixed_dictionaries({"r1": some_role, "r2": some_role}, optional={"r3": some_role})
apps = st.dictionaries(
    st.sampled_from(APP_NAMES),
    st.builds(
        AppSettings,
        models=patterns,
        scenes=patterns,
        limits=limits,
        unknown_role=st.none() | st.sampled_from(ROLE_NAMES),
    ),
)
callers = st.builds(
    Caller,
    key_id=st.just("k"),
    app=st.sampled_from([*APP_NAMES, "undeclared"]),
    roles=st.lists(st.sampled_from([*ROLE_NAMES, "gone"]), unique=True).map(tuple),
)


@given(roles, apps, callers, st.none() | st.sampled_from([*ROLE_NAMES, "unknown"]), st.sampled_from(ASKED))
def test_rights_are_within_each_of_their_parts(roles, apps, caller, claimed, permission):
    table = compile_roles(roles, apps)
    app = None if caller.app == "admin" else apps.get(caller.app)
    stand_in = app.unknown_role if app is not None else None
    meant = claimed if claimed is None or claimed in roles else stand_in
    try:
        rights = table.rights(caller, claimed, permission)
    except Forbidden:
        assert claimed is not None
        assert claimed not in roles
        assert meant not in roles
        return
    held = [roles[name] for name in caller.roles if name in roles]
    narrowing = [] if meant is None else [roles[meant]]

    assert rights.permissions <= frozenset().union(*(expand(role.permissions) for role in held))
    for role in narrowing:
        assert rights.permissions <= expand(role.permissions)
    if caller.app != "admin":
        assert not rights.permissions & PLATFORM_ONLY

    granting = [role for role in held if permission in expand(role.permissions)]
    for name in MODELS:
        for kind, allows, found in (
            ("models", _allows_model, rights.allows_model(name)),
            ("scenes", _allows_scene, rights.allows_scene(name)),
        ):
            lent = any(allows(getattr(role, kind), name) for role in granting)
            bounds = [*narrowing, *([app] if app else [])]
            assert found == (lent and all(allows(getattr(each, kind), name) for each in bounds))

    for each in (*granting, *narrowing, *([app] if app else [])):
        if each.limits.max_tokens is not None:
            assert rights.max_tokens is not None
            assert rights.max_tokens <= each.limits.max_tokens


@given(roles, apps, callers, st.sampled_from(ROLE_NAMES))
def test_claiming_a_role_never_gives_more_than_claiming_none(roles, apps, caller, claimed):
    table = compile_roles(roles, apps)
    whole = table.rights(caller, None)
    try:
        narrowed = table.rights(caller, claimed)
    except Forbidden:
        return
    assert narrowed.permissions <= whole.permissions
    for name in MODELS:
        assert not narrowed.allows_model(name) or whole.allows_model(name)
        assert not narrowed.allows_scene(name) or whole.allows_scene(name)
    if whole.max_tokens is not None:
        assert narrowed.max_tokens is not None
        assert narrowed.max_tokens <= whole.max_tokens


def _allows_model(patterns, name):
    names = {"auto", "auto:default"} if name in {"auto", "auto:default"} else {name}
    return any(_allows_scene(patterns, each) for each in names)


def _allows_scene(patterns, name):
    return any(name.startswith(p[:-1]) if p.endswith("*") else name == p for p in patterns)
