"""What a call may do: its key's roles, narrowed by the key, by the role its app claims for the user, and by the app."""

from collections.abc import Mapping

from msgspec import Struct

from dujiang.core.call import Caller, Rights
from dujiang.core.errors import Forbidden
from dujiang.core.names import Names, compile_names
from dujiang.identity.names import compile_models, intersection, union
from dujiang.identity.permissions import PERMISSIONS, PLATFORM_ONLY, expand
from dujiang.identity.settings import AppSettings, RoleSettings

ADMIN_APP = "admin"
"""The built-in app of the platform's own keys; it narrows nothing."""

ADMIN_ROLE = "admin"

MAX_REMEMBERED = 4096


class Role(Struct, frozen=True):
    """A compiled role."""

    permissions: frozenset[str]
    models: Names
    scenes: Names
    max_tokens: int | None = None


class AppBounds(Struct, frozen=True):
    """What an app narrows, and the role that stands for claimed roles that nobody defined."""

    permissions: frozenset[str] = PERMISSIONS - PLATFORM_ONLY
    models: Names = Names(is_all=True)
    scenes: Names = Names(is_all=True)
    max_tokens: int | None = None
    unknown_role: str | None = None


_ADMIN_BOUNDS = AppBounds(permissions=PERMISSIONS)
_UNDECLARED_BOUNDS = AppBounds()


class RightsTable:
    """The roles and apps of one snapshot. Answers are remembered by value: a key that changes is another question."""

    __slots__ = ("_apps", "_remembered", "_roles")

    def __init__(self, roles: Mapping[str, Role], apps: Mapping[str, AppBounds]) -> None:
        self._roles = roles
        self._apps = apps
        self._remembered: dict[tuple[Caller, str | tuple[str, ...] | None, str], Rights] = {}

    def rights(self, caller: Caller, claimed_role: str | None, permission: str = "chat:call") -> Rights:
        """What `caller` may do, for a user with `claimed_role`, in a call that needs `permission`.

        Models, scenes and `max_tokens` come only from those of the key's roles that grant `permission`: a role for
        reading records must not lend its unrestricted models to a role that may chat. Whether the permission itself is
        among the rights is for the caller of this to check. Raises `Forbidden` for a claimed role that is not defined.
        """
        question = (caller, claimed_role, permission)
        known = self._remembered.get(question)
        return known if known is not None else self._remember(question)

    def rights_within(self, caller: Caller, roles: tuple[str, ...], permission: str = "chat:call") -> Rights:
        """As `rights`, for a user who has some roles of its own and of whom none is claimed: within any of them."""
        question = (caller, roles, permission)
        known = self._remembered.get(question)
        if known is None:
            known = self._keep(question, self._compute(caller, roles, permission, self._bounds(caller)))
        return known

    def _remember(self, question: tuple[Caller, str | None, str]) -> Rights:
        caller, claimed_role, permission = question
        bounds = self._bounds(caller)
        if claimed_role is not None and claimed_role not in self._roles:
            claimed_role = self._stand_in(claimed_role, bounds)
        rights = self._compute(caller, None if claimed_role is None else (claimed_role,), permission, bounds)
        return self._keep((caller, claimed_role, permission), rights)

    def _keep(self, question: tuple[Caller, str | tuple[str, ...] | None, str], rights: Rights) -> Rights:
        if len(self._remembered) >= MAX_REMEMBERED:
            self._remembered.clear()
        self._remembered[question] = rights
        return rights

    def _bounds(self, caller: Caller) -> AppBounds:
        return _ADMIN_BOUNDS if caller.app == ADMIN_APP else self._apps.get(caller.app, _UNDECLARED_BOUNDS)

    def _stand_in(self, unknown: str, bounds: AppBounds) -> str:
        if bounds.unknown_role in self._roles and bounds.unknown_role is not None:
            return bounds.unknown_role
        raise Forbidden(
            f"The role `{unknown[:100]}` is not defined. Leave user_role out or claim a role of the configuration.",
            reason="unknown_role",
            param="user_info.user_role",
        )

    def _compute(self, caller: Caller, narrowing: tuple[str, ...] | None, permission: str, bounds: AppBounds) -> Rights:
        held = {name: self._roles[name] for name in caller.roles if name in self._roles}
        lending = {name: role for name, role in held.items() if permission in role.permissions}
        granting = lending.values()
        permissions = bounds.permissions & frozenset[str]().union(*(role.permissions for role in held.values()))
        models = [union(role.models for role in granting), caller.models, bounds.models]
        scenes = [union(role.scenes for role in granting), caller.scenes, bounds.scenes]
        limits = [caller.max_tokens, bounds.max_tokens, *(role.max_tokens for role in granting)]
        roles = [] if any(role.permissions == PERMISSIONS for role in granting) else [frozenset(lending)]
        if narrowing is not None:
            claimed = [self._roles[name] for name in narrowing if name in self._roles]
            lent = [role for role in claimed if permission in role.permissions] or claimed
            permissions &= frozenset[str]().union(*(role.permissions for role in claimed))
            models.append(union(role.models for role in lent))
            scenes.append(union(role.scenes for role in lent))
            limits += (role.max_tokens for role in lent)
            roles.append(frozenset(narrowing))
        return Rights(
            permissions=permissions,
            models=_restrictions(models),
            scenes=_restrictions(scenes),
            max_tokens=min((limit for limit in limits if limit is not None), default=None),
            roles=tuple(roles),
        )


def compile_roles(roles: Mapping[str, RoleSettings], apps: Mapping[str, AppSettings]) -> RightsTable:
    """Raises `ValueError` for an unknown permission or a pattern that is none."""
    return RightsTable(
        {
            name: Role(
                permissions=expand(role.permissions),
                models=compile_models(role.models),
                scenes=compile_names(role.scenes),
                max_tokens=role.limits.max_tokens,
            )
            for name, role in roles.items()
        },
        {
            name: AppBounds(
                models=compile_models(app.models),
                scenes=compile_names(app.scenes),
                max_tokens=app.limits.max_tokens,
                unknown_role=app.unknown_role,
            )
            for name, app in apps.items()
        },
    )


def _restrictions(lists: list[Names]) -> tuple[Names, ...]:
    """One list to look a name up in, and none where every name is allowed."""
    names = intersection(lists)
    return () if names.is_all else (names,)
