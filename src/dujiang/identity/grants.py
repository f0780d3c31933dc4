"""Nobody grants more than they hold: what a key holds, and what of another goes beyond it. Pure."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime

from msgspec import Struct, structs

from dujiang.core.addresses import Network, is_within
from dujiang.core.call import Caller
from dujiang.core.names import Names
from dujiang.core.problem import Problem
from dujiang.core.settings import Budget, Limits
from dujiang.identity.key import Key, caller_of
from dujiang.identity.names import covers, intersection, union
from dujiang.identity.permissions import PERMISSIONS, expand
from dujiang.identity.roles import ADMIN_APP, RightsTable
from dujiang.identity.settings import AppSettings, LimitSettings, RoleSettings

CALLING = ("chat:call", "schedule:call")
"""The permissions whose models and scenes are used by calls."""

RATES = ("rpm", "tpm", "concurrency")


class Power(Struct, frozen=True):
    """How far one permission reaches. `rates` are those of the roles that lend it; `reserved` the scenes that are not
    for every role and are for these.
    """

    models: Names
    scenes: Names
    max_tokens: int | None = None
    rates: Limits = Limits()
    reserved: frozenset[str] = frozenset()


class Holding(Struct, frozen=True):
    """All that a key holds.

    `powers` are by permission; `rates` are of its own counter; `charged` are the keys whose counters and budgets count
    what it uses.
    """

    app: str
    powers: Mapping[str, Power]
    rates: Limits
    budget: Budget | None
    expires_at: datetime | None
    act_as_user: bool
    networks: tuple[Network, ...]
    charged: frozenset[str]

    @property
    def is_platform(self) -> bool:
        return self.app == ADMIN_APP


class Policy(Struct, frozen=True):
    """What a revision of the document says of rights. `scene_roles` has the scenes that are not for every role."""

    table: RightsTable
    roles: Mapping[str, RoleSettings]
    apps: Mapping[str, AppSettings]
    default: LimitSettings = LimitSettings()
    scene_roles: Mapping[str, Names] = {}

    def holding(self, lineage: Sequence[Key]) -> Holding:
        """What the first of some keys holds, each of which was made by the next."""
        key = lineage[0]
        return Holding(
            app=key.app,
            powers=self.powers(caller_of(key)),
            rates=self._rates(key),
            budget=key.budget,
            expires_at=key.expires_at,
            act_as_user=key.act_as_user,
            networks=caller_of(key).networks,
            charged=frozenset(each.id for each in lineage if each.is_counted),
        )

    def powers(self, caller: Caller) -> dict[str, Power]:
        """What a caller may do, by permission."""
        expanded = {name: expand(self.roles[name].permissions) for name in caller.roles if name in self.roles}
        found: dict[str, Power] = {}
        for permission in sorted(PERMISSIONS):
            rights = self.table.rights(caller, None, permission)
            if permission not in rights.permissions:
                continue
            scenes = intersection(rights.scenes)
            reserved = self._reserved(scenes, rights.roles) if permission in CALLING else frozenset[str]()
            lending = [self.roles[name].limits for name, given in expanded.items() if permission in given]
            rates = tightest(lending)
            found[permission] = Power(intersection(rights.models), scenes, rights.max_tokens, rates, reserved)
        return found

    def _reserved(self, scenes: Names, held: Sequence[frozenset[str]]) -> frozenset[str]:
        return frozenset(
            scene
            for scene, for_roles in self.scene_roles.items()
            if scene in scenes and all(any(role in for_roles for role in roles) for roles in held)
        )

    def _rates(self, key: Key) -> Limits:
        """The most specific of key, app and default. The platform's own keys could change the other two."""
        app = self.apps.get(key.app)
        sources = [key.limits]
        if key.app != ADMIN_APP:
            sources += [app.limits] if app is not None else []
            sources.append(self.default)
        return Limits(**{name: _first(getattr(each, name) for each in sources) for name in RATES})


def excess(held: Holding, wanted: Holding) -> Iterator[Problem]:
    """What of one holding goes beyond another, by the field of a key that would have to be another."""
    for permission, power in wanted.powers.items():
        own = held.powers.get(permission)
        if own is None:
            yield Problem("roles", f"would give `{permission}`, which you do not hold")
        else:
            yield from beyond(own, power, permission)
    for name in RATES:
        if is_wider(getattr(wanted.rates, name), getattr(held.rates, name)):
            yield Problem(f"limits.{name}", f"must be at most {getattr(held.rates, name)}, as yours is")
    if not is_within_budget(held.budget, wanted.budget):
        yield Problem("budget", "must be in the currency and the window of your own, and at most as much")
    if held.expires_at is not None and (wanted.expires_at is None or wanted.expires_at > held.expires_at):
        yield Problem("expires_at", "must not be later than the end of your own key")
    if wanted.act_as_user and not held.act_as_user:
        yield Problem("act_as_user", "must be false, as it is for your own key")
    if held.networks and not _is_within_networks(held.networks, wanted.networks):
        yield Problem("allowed_addresses", "must be within those of your own key")


def beyond(held: Power, wanted: Power, permission: str) -> Iterator[Problem]:
    """How one power reaches further than another."""
    if not covers(held.models, wanted.models):
        yield Problem("models", f"would let models through for `{permission}` that you may not use")
    if not covers(held.scenes, wanted.scenes):
        yield Problem("scenes", f"would let scenes through for `{permission}` that you may not use")
    if extra := sorted(wanted.reserved - held.reserved):
        yield Problem("roles", f"would open the scene `{extra[0]}`, which is not for your roles")
    if is_wider(wanted.max_tokens, held.max_tokens):
        yield Problem("limits.max_tokens", f"must be at most {held.max_tokens}, as yours is")
    for name in RATES:
        if is_wider(getattr(wanted.rates, name), getattr(held.rates, name)):
            yield Problem("roles", f"would allow more `{name}` for `{permission}` than your roles do")


def widening(held: Power | None, before: Power, after: Power, permission: str) -> Iterator[Problem]:
    """What of a power that was there already becomes wider than somebody holds, who has `held` of it.

    Where one list grows, only what is new in it must be held; all that it is combined with must be held too. Of the
    scenes that are not for every role, those that were open already need not.
    """
    if not any(beyond(before, after, permission)):
        return
    if held is None:
        yield Problem("permissions", f"lend `{permission}`, which you do not hold: you may not widen it")
        return
    grown = {name for name in ("models", "scenes") if not covers(getattr(before, name), getattr(after, name))}
    numbers = structs.replace(after, models=before.models, scenes=before.scenes)
    if len(grown) == 1 and not any(beyond(before, numbers, permission)):
        (name,) = grown
        held = structs.replace(held, **{name: union((getattr(held, name), getattr(before, name)))})
    yield from beyond(structs.replace(held, reserved=held.reserved | before.reserved), after, permission)


def is_wider(limit: int | None, bound: int | None) -> bool:
    """Whether a limit lets more through than another; None lets everything through."""
    return bound is not None and (limit is None or limit > bound)


def tightest(limits: Sequence[LimitSettings]) -> Limits:
    """The lowest of each rate."""
    return Limits(
        **{
            name: min((each for each in (getattr(limit, name) for limit in limits) if each is not None), default=None)
            for name in RATES
        }
    )


def _first(values: Iterator[int | None]) -> int | None:
    return next((value for value in values if value is not None), None)


def is_within_budget(held: Budget | None, wanted: Budget | None) -> bool:
    if held is None:
        return True
    return (
        wanted is not None
        and (wanted.currency, wanted.per) == (held.currency, held.per)
        and wanted.amount <= held.amount
    )


def _is_within_networks(held: Sequence[Network], wanted: Sequence[Network]) -> bool:
    return bool(wanted) and all(any(is_within(each, own) for own in held) for each in wanted)
