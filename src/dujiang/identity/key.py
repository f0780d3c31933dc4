"""A key: as it is kept, as anybody may see it, and as the caller that it makes."""

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any

from msgspec import Struct
from sqlalchemy import Row

from dujiang.core.addresses import read_network
from dujiang.core.call import Caller
from dujiang.core.names import compile_names
from dujiang.core.settings import Budget, Limits
from dujiang.identity.key_fields import plain, read_budget, read_limits
from dujiang.identity.names import compile_models
from dujiang.identity.settings import LimitSettings

MAX_DEPTH = 8
"""How many keys may stand between a key and the operator: each was made by the next."""


class Key(Struct, frozen=True):
    """A key without its secret. `prefix` is how that begins, empty when a person chose it. `created_by` is the key that
    made it, None for the operator; until `previous_until` the secret before the last rotation is good too.
    """

    id: str
    prefix: str
    app: str
    roles: tuple[str, ...]
    name: str
    origin: str
    act_as_user: bool
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    models: tuple[str, ...] = ("*",)
    scenes: tuple[str, ...] = ("*",)
    limits: LimitSettings = LimitSettings()
    budget: Budget | None = None
    allowed_addresses: tuple[str, ...] = ()
    created_by: str | None = None
    previous_until: datetime | None = None

    def is_usable(self, now: datetime) -> bool:
        return self.revoked_at is None and (self.expires_at is None or now < self.expires_at)

    @property
    def is_counted(self) -> bool:
        """Whether what it and the keys made by it use is counted as its own."""
        limits = self.limits
        return self.budget is not None or (limits.rpm, limits.tpm, limits.concurrency) != (None, None, None)


def key_of(row: Row[Any]) -> Key:
    return Key(
        id=row.id,
        prefix=row.prefix,
        app=row.app,
        roles=tuple(row.roles),
        name=row.name,
        origin=row.origin,
        act_as_user=row.act_as_user,
        created_at=row.created_at,
        expires_at=row.expires_at,
        revoked_at=row.revoked_at,
        models=tuple(row.models),
        scenes=tuple(row.scenes),
        limits=read_limits(row.limits),
        budget=read_budget(row.budget),
        allowed_addresses=tuple(row.allowed_addresses),
        created_by=row.created_by,
        previous_until=row.previous_until,
    )


def caller_of(key: Key, lineage: Sequence[Caller] = ()) -> Caller:
    """Who holds the key. `lineage` are the callers of the keys by which it was made, as far as those are counted."""
    limits = key.limits
    return Caller(
        key_id=key.id,
        app=key.app,
        roles=key.roles,
        act_as_user=key.act_as_user,
        models=compile_models(key.models),
        scenes=compile_names(key.scenes),
        limits=Limits(rpm=limits.rpm, tpm=limits.tpm, concurrency=limits.concurrency),
        max_tokens=limits.max_tokens,
        budget=key.budget,
        networks=tuple(map(read_network, key.allowed_addresses)),
        expires_at=key.expires_at,
        lineage=tuple(lineage),
    )


def fields_of(key: Key) -> dict[str, Any]:
    """What can be changed of a key, as a body that changes nothing."""
    return {
        "name": key.name,
        "roles": list(key.roles),
        "models": list(key.models),
        "scenes": list(key.scenes),
        "limits": plain(key.limits),
        "budget": plain(key.budget),
        "expires_at": _moment(key.expires_at),
        "act_as_user": key.act_as_user,
        "allowed_addresses": list(key.allowed_addresses),
    }


def shown_key(key: Key) -> dict[str, Any]:
    """All of a key that may be seen, as plain values."""
    return {
        "id": key.id,
        "prefix": key.prefix,
        "app": key.app,
        **fields_of(key),
        "limits": shown_limits(key.limits),
        "budget": shown_budget(key.budget),
        "origin": key.origin,
        "created_at": _moment(key.created_at),
        "created_by": key.created_by,
        "revoked_at": _moment(key.revoked_at),
        "previous_until": _moment(key.previous_until),
    }


def shown_limits(limits: LimitSettings) -> dict[str, int | None]:
    return {name: getattr(limits, name) for name in ("rpm", "tpm", "concurrency", "max_tokens")}


def shown_budget(budget: Budget | None) -> dict[str, Any] | None:
    if budget is None:
        return None
    return {"amount": shown_amount(budget.amount), "currency": budget.currency, "per": budget.per}


def shown_amount(amount: Decimal) -> int | float:
    return int(amount) if amount == amount.to_integral_value() else float(amount)


def _moment(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat().replace("+00:00", "Z")
