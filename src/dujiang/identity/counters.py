"""Which counters a call must pass: its key's own, its app's, those of its roles and of its user."""

from collections.abc import Iterator, Mapping

from msgspec import Struct

from dujiang.core.call import Caller, ClaimedUser, Rights
from dujiang.core.limits import Bound
from dujiang.core.settings import Limits
from dujiang.identity.settings import AppSettings, LimitSettings, RoleSettings
from dujiang.identity.users import Users

MAX_REMEMBERED = 4096
_NO_LIMITS = Limits()

Roles = tuple[frozenset[str], ...]
"""As `Rights.roles` has them."""


class _Counted(Struct, frozen=True):
    """Of a key and its roles: the counters that are the same for all users, and the roles that have one for each."""

    bounds: tuple[Bound, ...]
    roles: tuple[tuple[str, Limits], ...]


class Counters:
    """The limits of one snapshot.

    A key's own counter has, of each limit, the most specific: the key's, else its app's, else the default. An app has
    one counter for all its keys. A key that another made counts for that one too, where it has limits. A role has one
    counter for each user of each app, or for each key where no user is named. A user may have limits of their own.
    """

    __slots__ = ("_apps", "_default", "_remembered", "_roles", "_users")

    def __init__(
        self, roles: Mapping[str, RoleSettings], apps: Mapping[str, AppSettings], default: LimitSettings, users: Users
    ) -> None:
        self._roles = {name: role.limits for name, role in roles.items() if _is_bounded(role.limits)}
        self._apps = {name: app.limits for name, app in apps.items() if _is_bounded(app.limits)}
        self._default = default
        self._users = users
        self._remembered: dict[tuple[Caller, Roles], _Counted] = {}

    def bounds(self, caller: Caller, rights: Rights, user: ClaimedUser) -> tuple[Bound, ...]:
        """The counters of a call of one kind. Of its rights only the roles matter: those that let it be made."""
        question = (caller, rights.roles)
        counted = self._remembered.get(question)
        if counted is None:
            if len(self._remembered) >= MAX_REMEMBERED:
                self._remembered.clear()
            counted = self._remembered[question] = _Counted(tuple(self._shared(caller)), tuple(self._held(rights)))
        if not counted.roles and not self._users.known:
            return counted.bounds
        who = _who(caller, user)
        own = (_bound(f"role:{name}|{who}", limits) for name, limits in counted.roles)
        return (*counted.bounds, *own, *self._of_user(caller.app, user.user_id))

    def _shared(self, caller: Caller) -> Iterator[Bound]:
        of_app = self._apps.get(caller.app, _NO_LIMITS)
        of_key = _first(caller.limits, of_app, self._default)
        if _is_bounded(of_key):
            yield _bound(f"key:{caller.key_id}", of_key)
        for maker in caller.lineage:
            if _is_bounded(maker.limits):
                yield _bound(f"key:{maker.key_id}", maker.limits)
        if _is_bounded(of_app):
            yield _bound(f"app:{caller.app}", of_app)

    def _of_user(self, app: str, id: str | None) -> Iterator[Bound]:
        known = self._users.find(app, id) if id is not None else None
        if known is not None and _is_bounded(known.limits):
            yield _bound(f"user:{app}/{id}", known.limits)

    def _held(self, rights: Rights) -> Iterator[tuple[str, Limits]]:
        names = frozenset[str]().union(*rights.roles)
        return ((name, self._roles[name]) for name in sorted(names) if name in self._roles)


def _who(caller: Caller, user: ClaimedUser) -> str:
    return f"key:{caller.key_id}" if user.user_id is None else f"user:{caller.app}/{user.user_id}"


def _bound(subject: str, limits: Limits) -> Bound:
    return Bound(subject, limits.rpm, limits.tpm, limits.concurrency)


def _first(*limits: Limits) -> Limits:
    """Of each limit the first that is set."""

    def first(name: str) -> int | None:
        return next((value for each in limits if (value := getattr(each, name)) is not None), None)

    return Limits(rpm=first("rpm"), tpm=first("tpm"), concurrency=first("concurrency"))


def _is_bounded(limits: Limits) -> bool:
    return limits.rpm is not None or limits.tpm is not None or limits.concurrency is not None
