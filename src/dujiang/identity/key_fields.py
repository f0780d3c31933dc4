"""What may be said of a key: plain values as they come in a body or from a command line, and as they are kept."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from dujiang.core.addresses import read_network
from dujiang.core.errors import Unprocessable
from dujiang.core.settings import Budget, Currency, Name, NamePattern, PositiveAmount, Settings
from dujiang.identity.settings import LimitSettings

MAX_ADDRESSES = 100
MAX_PATTERNS = 1000

KeyName = Annotated[str, Meta(max_length=200)]
Moment = Annotated[str, Meta(min_length=1, max_length=40)]
"""ISO 8601; UTC where it names no zone."""

NetworkText = Annotated[str, Meta(min_length=2, max_length=64)]
Window = Literal["hour", "day", "week", "month", "total"]


class SpendingLimit(Settings):
    """Money that may be spent in a window of time."""

    amount: PositiveAmount
    currency: Currency
    per: Window


class KeyFields(Settings, kw_only=True):
    """What whoever makes or changes a key decides. Models, scenes, limits and addresses narrow what its roles give."""

    roles: Annotated[tuple[Name, ...], Meta(min_length=1)]
    name: KeyName = ""
    models: tuple[NamePattern, ...] = ("*",)
    scenes: tuple[NamePattern, ...] = ("*",)
    limits: LimitSettings = LimitSettings()
    budget: SpendingLimit | None = None
    expires_at: Moment | None = None
    act_as_user: bool = True
    allowed_addresses: tuple[NetworkText, ...] = ()


class NewKey(KeyFields, kw_only=True):
    """The body that makes a key."""

    app: Name


def columns_of(fields: KeyFields) -> dict[str, Any]:
    """The columns of a key that its fields fill. Raises `Unprocessable` for a moment or an address that is none."""
    _require_few("models", fields.models, MAX_PATTERNS)
    _require_few("scenes", fields.scenes, MAX_PATTERNS)
    _require_few("roles", fields.roles, MAX_PATTERNS)
    _require_few("allowed_addresses", fields.allowed_addresses, MAX_ADDRESSES)
    return {
        "name": fields.name,
        "roles": list(dict.fromkeys(fields.roles)),
        "models": list(fields.models),
        "scenes": list(fields.scenes),
        "limits": plain(fields.limits),
        "budget": plain(fields.budget),
        "expires_at": _moment(fields.expires_at),
        "act_as_user": fields.act_as_user,
        "allowed_addresses": [_network(n, text) for n, text in enumerate(fields.allowed_addresses)],
    }


def plain(value: Any) -> Any:
    """A setting as it is kept: money as a text, which a float would not be true to."""
    return msgspec.to_builtins(value)


def read_limits(stored: Mapping[str, Any]) -> LimitSettings:
    return msgspec.convert(stored, LimitSettings)


def read_budget(stored: Mapping[str, Any] | None) -> Budget | None:
    """What is kept of a spending limit, as the budget that it is."""
    return None if stored is None else msgspec.convert(stored, Budget)


def read_moment(text: str) -> datetime:
    """Raises `ValueError`."""
    moment = datetime.fromisoformat(text)
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def _moment(text: str | None) -> datetime | None:
    if text is None:
        return None
    try:
        return read_moment(text)
    except (ValueError, OverflowError):
        raise Unprocessable("`expires_at` must be a moment like `2027-01-31T12:00:00Z`.", param="expires_at") from None


def _network(n: int, text: str) -> str:
    try:
        return str(read_network(text))
    except ValueError:
        path = f"allowed_addresses[{n}]"
        raise Unprocessable(f"`{path}` must be an address or a network like `10.0.0.0/8`.", param=path) from None


def _require_few(name: str, items: tuple[str, ...], most: int) -> None:
    if len(items) > most:
        raise Unprocessable(f"`{name}` must have at most {most} items.", param=name)
