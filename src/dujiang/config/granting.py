"""Whether a document gives more than its author holds: by the roles and apps that it makes wider, or takes away."""

from collections.abc import Iterator, Mapping

from msgspec import structs

from dujiang.config.author import Author
from dujiang.config.checked import Checked
from dujiang.config.policy import policy_of
from dujiang.config.settings import Document
from dujiang.core.call import Caller
from dujiang.core.errors import Forbidden
from dujiang.core.names import Names
from dujiang.core.problem import Problem, at
from dujiang.core.settings import Budget, Limits
from dujiang.identity.grants import CALLING, RATES, Power, beyond, is_wider, is_within_budget, tightest, widening
from dujiang.identity.names import compile_models, compile_names
from dujiang.identity.permissions import PERMISSIONS, expand
from dujiang.identity.settings import AppSettings, LimitSettings, RoleSettings

Powers = Mapping[str, Power]
Reserved = Mapping[str, Names]
"""The scenes that are not for every role, with those they are for."""

_BOUND = "would allow more, which takes a key that never expires, is used from anywhere and may act as users"


def require_no_grant(author: Author, before: Checked, after: Checked) -> None:
    """Raises `Forbidden` where roles, apps or the limits of keys would give more than before and the author holds."""
    if author.caller is None:
        return
    old, new = before.document, after.document
    if old.roles == new.roles and old.apps == new.apps and old.limits == new.limits:
        return
    held, reserved = _held(author.caller, before), policy_of(old).scene_roles
    for problem in (
        *_of_roles(held, reserved, old.roles, new.roles),
        *_of_apps(held, author.caller.budget, reserved, old, new),
        *_of_default(held, old, new),
    ):
        message = _BOUND if author.caller.is_bound else problem.message
        raise Forbidden(f"`{problem.path}` {message}.", reason="grant", param=problem.path)


def _held(caller: Caller, before: Checked) -> Powers:
    """What an author can give, by permission; the key's own counter bounds what roles and apps let through, too.

    A document holds always, everywhere and for everybody: whose key does not has nothing to give by it.
    """
    if caller.is_bound:
        return {}
    powers = policy_of(before.document).powers(caller)
    own = _rates_of(caller.limits)
    return {
        permission: structs.replace(power, rates=tightest([own, _rates_of(power.rates)]))
        for permission, power in powers.items()
    }


def _rates_of(limits: Limits) -> LimitSettings:
    return LimitSettings(rpm=limits.rpm, tpm=limits.tpm, concurrency=limits.concurrency)


def _of_roles(
    held: Powers, reserved: Reserved, before: Mapping[str, RoleSettings], after: Mapping[str, RoleSettings]
) -> Iterator[Problem]:
    for name in dict.fromkeys((*after, *before)):
        old, new = before.get(name), after.get(name)
        if old is new:
            continue
        path = at("roles", name)
        given = expand(new.permissions) if new is not None else frozenset[str]()
        known = expand(old.permissions) if old is not None else frozenset[str]()
        for permission in sorted(given | known):
            own = held.get(permission)
            if new is None or permission not in given:
                found = _of_loss(own, old or RoleSettings(permissions=()), permission)
            elif old is None or permission not in known:
                found = _of_new(own, _role_power(name, new, permission, reserved), permission)
            else:
                was, will = (_role_power(name, role, permission, reserved) for role in (old, new))
                found = widening(own, was, will, permission)
            yield from (problem.under(path) for problem in found)


def _of_new(held: Power | None, power: Power, permission: str) -> Iterator[Problem]:
    if held is None:
        yield Problem("permissions", f"would give `{permission}`, which you do not hold")
    else:
        yield from beyond(held, power, permission)


def _of_loss(held: Power | None, role: RoleSettings, permission: str) -> Iterator[Problem]:
    """Keys have the tightest limits of those of their roles that lend a permission: one less may free them of some."""
    bound = Power(Names(), Names(), role.limits.max_tokens, tightest([role.limits]))
    free = Power(Names(), Names())
    if any(beyond(bound, free, permission)) and (held is None or any(beyond(held, free, permission))):
        yield Problem(
            "limits", f"bound `{permission}` for keys with other roles beside, which you may not free of them"
        )


def _of_apps(
    held: Powers, budget: Budget | None, reserved: Reserved, before: Document, after: Document
) -> Iterator[Problem]:
    """An app that is not declared narrows nothing; whoever declares one must hold what it lets through."""
    nothing, everything = AppSettings(models=(), scenes=()), AppSettings()
    for name in dict.fromkeys((*after.apps, *before.apps)):
        old, new = before.apps.get(name), after.apps.get(name)
        if old is new and before.limits == after.limits:
            continue
        path, known, wanted = at("apps", name), old or nothing, new or everything
        for permission in CALLING:
            power = held.get(permission)
            was, will = _app_power(known, before, reserved), _app_power(wanted, after, reserved)
            found = widening(power, was, will, permission)
            yield from (problem.under(path) for problem in found)
            for rate in RATES:
                now = getattr(wanted.limits, rate)
                if is_wider(now, getattr(known.limits, rate)) and (power is None or _is_more(now, power, rate)):
                    yield Problem(f"{path}.limits.{rate}", f"would let more through for `{permission}` than you hold")
        is_more = not is_within_budget(known.budget, wanted.budget)
        if old is not None and is_more and not (held and is_within_budget(budget, wanted.budget)):
            yield Problem(f"{path}.budget", "would be more than that of your own key")


def _of_default(held: Powers, before: Document, after: Document) -> Iterator[Problem]:
    """The limits of keys whose app is not declared, too: they may use everything."""
    for permission in CALLING:
        old, new = (_app_power(AppSettings(), document, {}) for document in (before, after))
        for problem in widening(held.get(permission), old, new, permission):
            yield problem.under("limits.default")


def _is_more(limit: int | None, power: Power, rate: str) -> bool:
    return is_wider(limit, getattr(power.rates, rate))


def _role_power(name: str, role: RoleSettings, permission: str, reserved: Reserved) -> Power:
    """What a role lends. A key combines its roles, so this one opens the reserved scenes that are for it or among its
    own, and with `*` all.
    """
    scenes, is_whole = compile_names(role.scenes), expand(role.permissions) == PERMISSIONS
    opened = frozenset(
        scene
        for scene, roles in reserved.items()
        if permission in CALLING and (is_whole or name in roles or scene in scenes)
    )
    return Power(compile_models(role.models), scenes, role.limits.max_tokens, tightest([role.limits]), opened)


def _app_power(app: AppSettings, document: Document, reserved: Reserved) -> Power:
    """What an app lets through. Its rates are those of a key that has none of its own."""
    default = document.limits.default
    own = {name: getattr(app.limits, name) for name in RATES}
    rates = {name: getattr(default, name) if limit is None else limit for name, limit in own.items()}
    scenes = compile_names(app.scenes)
    opened = frozenset(scene for scene in reserved if scene in scenes)
    return Power(compile_models(app.models), scenes, app.limits.max_tokens, Limits(**rates), opened)
