"""Whatever sequence of writes: nobody comes to hold, or gives, more than its author held at that time.

What a key may do is spelt out as a set of single things here, which is how the rules of the product do not work.
"""

import shutil
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import cache
from ipaddress import ip_address, ip_network
from itertools import combinations, product
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
from hypothesis import HealthCheck, settings
from hypothesis.stateful import RuleBasedStateMachine, rule

from dujiang.config.author import Author, operator
from dujiang.config.fields import patched, settings_of
from dujiang.config.opening import compile_nothing, open_configuration
from dujiang.config.policy import policy_of
from dujiang.config.service import Configuration
from dujiang.core.errors import AppError
from dujiang.identity.key import Key, caller_of
from dujiang.identity.key_fields import KeyFields, NewKey
from dujiang.identity.keys import OPERATOR, Writer, change_key, list_keys, make_key, revoke_key, rotate_key
from dujiang.identity.permissions import expand
from dujiang.identity.roles import ADMIN_APP, compile_roles
from dujiang.migrations import upgrade
from dujiang.storage.database import connect, sqlite_url
from dujiang.storage.secret_key import make_key_file, open_keychain
from dujiang.storage.secrets import SecretStore

Things = frozenset[tuple[Any, ...]]
Reach = tuple[Things, Things]
"""What may be done, and in which ways each of that: from where, until when, for whom."""

NOTHING: Reach = (frozenset(), frozenset())

PERMISSIONS = ["chat:call", "schedule:call", "keys:write", "records:read", "config:write"]
CALLING = {"chat:call", "schedule:call"}
"""Of these alone it matters with which models, scenes and numbers they are held."""

MODELS = ["lab-1", "lab-2", "other"]
SCENES = ["open", "staff"]
NUMBERS = [10, 1000, 10**9]
ADDRESSES = ["10.0.0.1", "10.9.0.1", "2001:db8::1"]
LATER = [datetime.now(UTC) + timedelta(days=days) for days in (10, 1000)]
ROLES = ["r1", "r2", "r3", "staff", "boss"]
APPS = ["a1", "a2"]

subset = st.sampled_from([["*"], ["lab-*"], ["lab-1"], ["other"], ["lab-1", "other"]])
scene_subset = st.sampled_from([["*"], ["open"], ["st*"]])
number = st.sampled_from([None, 10, 1000])
limits = st.fixed_dictionaries(
    {}, optional={"rpm": st.sampled_from([10, 1000]), "max_tokens": st.sampled_from([10, 1000])}
)
roles = st.fixed_dictionaries(
    {"permissions": st.lists(st.sampled_from([*PERMISSIONS, "keys:*", "*", "roles:write", "apps:write"]), max_size=3)},
    optional={"models": subset, "scenes": scene_subset, "limits": limits},
)
apps = st.fixed_dictionaries({}, optional={"models": subset, "scenes": scene_subset, "limits": limits})
key_fields = st.fixed_dictionaries(
    {},
    optional={
        "roles": st.lists(st.sampled_from(ROLES), min_size=1, max_size=2, unique=True),
        "models": subset,
        "scenes": scene_subset,
        "limits": limits,
        "budget": st.none()
        | st.fixed_dictionaries(
            {"amount": st.sampled_from([1, 50]), "currency": st.sampled_from(["CNY", "USD"]), "per": st.just("day")}
        ),
        "expires_at": st.sampled_from([None, (LATER[0] - timedelta(days=1)).isoformat(), LATER[0].isoformat()]),
        "act_as_user": st.booleans(),
        "allowed_addresses": st.sampled_from([[], ["10.0.0.0/8"], ["10.0.0.1", "2001:db8::/32"]]),
    },
)
who = st.integers(0, 9)

FIRST: dict[str, Any] = {
    "providers": {"p": {"kind": "openai", "base_url": "http://127.0.0.1:9/v1", "allow_private_network": True}},
    "models": {name: {"targets": [{"provider": "p", "model": "m"}]} for name in MODELS},
    "scenes": {
        "open": {"versions": [{"version": 1, "system": "a"}]},
        "staff": {"versions": [{"version": 1, "system": "b"}], "roles": ["staff"]},
    },
    "apps": {"a1": {}, "a2": {"models": ["lab-*"], "limits": {"rpm": 1000}}},
    "limits": {"default": {"rpm": 1000}},
    "roles": {
        "boss": {"permissions": ["*"]},
        "staff": {"permissions": ["chat:call"]},
        "r1": {"permissions": ["chat:call", "keys:write"], "models": ["lab-*"]},
        "r2": {"permissions": ["schedule:call", "config:write", "roles:write", "apps:write"], "limits": {"rpm": 1000}},
        "r3": {"permissions": ["chat:call", "records:read", "keys:write"], "limits": {"max_tokens": 1000}},
    },
}


@cache
def empty_house() -> Path:
    directory = Path(tempfile.mkdtemp(prefix="dujiang-grants-"))
    make_key_file(directory, {})
    with connect(sqlite_url(directory)) as database:
        upgrade(database)
    return directory


class Writers(RuleBasedStateMachine):
    """Keys of two apps and of the platform write keys and the document."""

    def __init__(self) -> None:
        super().__init__()
        self._directory = Path(tempfile.mkdtemp(prefix="dujiang-grants-"))
        shutil.copytree(empty_house(), self._directory, dirs_exist_ok=True)
        self.database = connect(sqlite_url(self._directory))
        secrets = SecretStore(self.database, open_keychain(self._directory, {}))
        self.config: Configuration[None] = open_configuration(self.database, secrets, compile_nothing, {})
        self.config.load()
        self.config.put(FIRST, 0, operator("test"))
        for app, role in ((ADMIN_APP, "boss"), (ADMIN_APP, "r2"), ("a1", "boss"), ("a1", "r1"), ("a2", "r3")):
            make_key(self.database, NewKey(app=app, roles=(role,)), OPERATOR)
        extended = {
            "roles": ["r1", "r2"],
            "limits": {"rpm": 1000},
            "budget": {"amount": 50, "currency": "CNY", "per": "day"},
        }
        make_key(self.database, settings_of({"app": ADMIN_APP, **extended}, NewKey), OPERATOR)

    def teardown(self) -> None:
        self.database.close()
        shutil.rmtree(self._directory)

    # what a key may do, thing by thing

    def reach(self, key: Key) -> Reach:
        if key.revoked_at is not None:
            return NOTHING
        return frozenset(self._things(key)), frozenset(_ways(key))

    def _things(self, key: Key) -> Iterator[tuple[Any, ...]]:
        """A scene for some roles alone is a thing by itself: whoever opens it gives no model with it."""
        document = self.config.newest().checked.document
        table, caller = compile_roles(document.roles, document.apps), caller_of(key)
        for permission in PERMISSIONS:
            rights = table.rights(caller, None, permission)
            if permission not in rights.permissions:
                continue
            if permission not in CALLING:
                yield (permission,)
                continue
            if permission == "chat:call" and rights.allows_scene("staff"):
                yield from [(permission, "reserved")] if all("staff" in held for held in rights.roles) else []
            lending = [document.roles[name] for name in key.roles if permission in _granted(document, name)]
            rates = [_counter(key, document), *(role.limits.rpm for role in lending)]
            for model, scene, tokens, rpm in product(MODELS, SCENES, NUMBERS, NUMBERS):
                if (
                    rights.allows_model(model)
                    and rights.allows_scene(scene)
                    and tokens <= (rights.max_tokens or tokens)
                    and all(rpm <= (rate or rpm) for rate in rates)
                ):
                    yield permission, model, scene, tokens, rpm

    # who writes

    def key(self, n: int) -> Key:
        found = list_keys(self.database)
        return found[n % len(found)]

    def writing(self, author: Key, write: Any, target: Key | None = None, *, is_takeover: bool = False) -> None:
        """Nothing is wider afterwards than it was, or than its author was."""
        before = {key.id: self.reach(key) for key in list_keys(self.database)}
        money = {key.id: key for key in list_keys(self.database)}
        try:
            write()
        except AppError:
            for key in list_keys(self.database):
                assert self.reach(key) == before[key.id]
            return
        assert author.revoked_at is None
        if target is not None:
            assert not excess(before[target.id], before[author.id])
        for key in list_keys(self.database):
            found = excess(self.reach(key), before.get(key.id, NOTHING), before[author.id])
            assert not found, (author, key, found[:3])
            known = money.get(key.id)
            if author.budget is not None and (known is None or known.budget != key.budget) and key.id != author.id:
                assert key.budget is not None
                assert (key.budget.currency, key.budget.amount <= author.budget.amount) == (
                    author.budget.currency,
                    True,
                )
        if is_takeover and target is not None and target.id != author.id and author.is_counted:
            assert author.id in _makers(target, money)

    def writer(self, author: Key) -> Writer:
        return Writer(author.id, policy_of(self.config.newest().checked.document))

    @rule(n=who, app=st.sampled_from([ADMIN_APP, *APPS, "a9"]), fields=key_fields)
    def make(self, n: int, app: str, fields: dict[str, Any]) -> None:
        author = self.key(n)
        body = {"roles": list(author.roles), "app": app, **fields}
        self.writing(author, lambda: make_key(self.database, settings_of(body, NewKey), self.writer(author)))

    @rule(n=who)
    def make_its_like(self, n: int) -> None:
        author = self.key(n)
        body = NewKey(app=author.app, roles=author.roles, models=author.models, scenes=author.scenes)
        self.writing(author, lambda: make_key(self.database, body, self.writer(author)))

    @rule(n=who, m=who, fields=key_fields)
    def change(self, n: int, m: int, fields: dict[str, Any]) -> None:
        author, target = self.key(n), self.key(m)

        def make(known: dict[str, Any]) -> KeyFields:
            return patched(known, fields, KeyFields)

        self.writing(author, lambda: change_key(self.database, target.id, make, self.writer(author)), target)

    @rule(n=who, m=who)
    def rotate(self, n: int, m: int) -> None:
        author, target = self.key(n), self.key(m)

        def write() -> None:
            rotate_key(self.database, target.id, 0, self.writer(author))

        self.writing(author, write, target, is_takeover=True)

    @rule(n=who, m=who)
    def revoke(self, n: int, m: int) -> None:
        author, target = self.key(n), self.key(m)
        if target.revoked_at is None:
            self.writing(author, lambda: revoke_key(self.database, target.id, self.writer(author)), target)

    # the document, which keys of the platform write

    def document(self, n: int, write: Any) -> None:
        author = self.key(n)
        document = self.config.newest().checked.document
        rights = compile_roles(document.roles, document.apps).rights(caller_of(author), None)
        if author.app == ADMIN_APP and author.revoked_at is None and "config:write" in rights.permissions:
            self.writing(author, lambda: write(Author(author.id, rights, caller_of(author))))

    @rule(n=who, name=st.sampled_from(ROLES), role=st.none() | roles)
    def edit_role(self, n: int, name: str, role: dict[str, Any] | None) -> None:
        self.document(n, lambda by: self.config.edit("roles", name, lambda _: role, by))

    @rule(n=who, name=st.sampled_from(APPS), app=st.none() | apps)
    def edit_app(self, n: int, name: str, app: dict[str, Any] | None) -> None:
        self.document(n, lambda by: self.config.edit("apps", name, lambda _: app, by))

    @rule(n=who, given=st.dictionaries(st.sampled_from(ROLES), roles, max_size=2), default=limits)
    def put(self, n: int, given: dict[str, Any], default: dict[str, Any]) -> None:
        newest = self.config.newest()
        tree = {
            **newest.checked.tree,
            "roles": {**newest.checked.tree["roles"], **given},
            "limits": {"default": default},
        }
        self.document(n, lambda by: self.config.put(tree, newest.revision, by))

    @rule(n=who, given=st.dictionaries(st.sampled_from(APPS), apps, max_size=2))
    def patch(self, n: int, given: dict[str, Any]) -> None:
        self.document(n, lambda by: self.config.patch({"apps": given}, self.config.newest().revision, by))

    @rule(n=who, back=st.integers(1, 5))
    def roll_back(self, n: int, back: int) -> None:
        revision = max(1, self.config.newest().revision - back)
        self.document(n, lambda by: self.config.roll_back(revision, None, by))


def excess(reach: Reach, *bounds: Reach) -> list[Any]:
    """The things of which some way lies within none of the bounds."""
    things, ways = reach
    allowed = {
        holders: frozenset().union(*(bounds[n][1] for n in holders))
        for size in range(len(bounds) + 1)
        for holders in combinations(range(len(bounds)), size)
    }
    return sorted(
        (
            thing
            for thing in things
            if not ways <= allowed[tuple(n for n, (held, _) in enumerate(bounds) if thing in held)]
        ),
        key=str,
    )


def _granted(document: Any, role: str) -> frozenset[str]:
    return expand(document.roles[role].permissions) if role in document.roles else frozenset()


def _counter(key: Key, document: Any) -> int | None:
    """The requests that the key's own counter lets through in a minute."""
    if key.limits.rpm is not None or key.app == ADMIN_APP:
        return key.limits.rpm
    app = document.apps.get(key.app)
    own = app.limits.rpm if app is not None else None
    return own if own is not None else document.limits.default.rpm


def _ways(key: Key) -> Iterator[tuple[Any, ...]]:
    networks = [ip_network(each) for each in key.allowed_addresses]
    for address, moment, for_user in product(ADDRESSES, [LATER[0] - timedelta(days=2), *LATER], [False, True]):
        is_there = not networks or any(ip_address(address) in network for network in networks)
        is_then = key.expires_at is None or moment < key.expires_at
        if is_there and is_then and (key.act_as_user or not for_user):
            yield address, moment, for_user


def _makers(key: Key, known: dict[str, Key]) -> set[str]:
    found = {key.id}
    while key.created_by is not None and key.created_by in known:
        key = known[key.created_by]
        found.add(key.id)
    return found


TestWriters = Writers.TestCase
TestWriters.settings = settings(
    max_examples=25, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck)
)


def test_a_key_that_expires_gives_nothing_for_good():
    """Found by the machine: what it let through by an app was there when it had expired itself."""
    state = Writers()
    try:
        state.patch(n=0, given={"a1": {"models": ["lab-1", "other"], "limits": {"rpm": 10}, "scenes": ["*"]}})
        state.make(n=0, app=ADMIN_APP, fields={"expires_at": LATER[0].isoformat()})
        narrow = state.config.newest().revision
        wide = {"scenes": ["open"], "limits": {"max_tokens": 1000, "rpm": 1000}, "models": ["lab-1"]}
        author = len(list_keys(state.database)) - 1
        state.patch(n=author, given={"a2": {"limits": {}, "models": ["lab-*"], "scenes": ["open"]}, "a1": wide})
        assert state.config.newest().revision == narrow
    finally:
        state.teardown()


def test_whoever_writes_apps_opens_no_scene_that_is_not_for_their_roles():
    """Found by the machine: `*` among an app's scenes let its boss into the scene of the staff."""
    state = Writers()
    try:
        state.edit_app(n=0, name="a1", app={"scenes": ["open"]})
        narrow = state.config.newest().revision
        state.edit_app(n=5, name="a1", app={"scenes": ["*"], "models": ["lab-*"], "limits": {"rpm": 1000}})
        assert state.config.newest().revision == narrow
    finally:
        state.teardown()
