"""Holding one plain value against a type without parts: text, numbers, choices, secrets."""

import difflib
import math
import re
from collections.abc import Callable, Collection, Mapping
from decimal import Decimal
from typing import Any, cast

from msgspec import Struct, inspect

from dujiang.core.secret import MASK

MAX_SECRET_LENGTH = 8192
MAX_CANDIDATES = 1000

_DECIMAL = re.compile(r"[-+]?[0-9]{1,18}(\.[0-9]{1,12})?")

_BOUNDS: dict[str, tuple[str, Callable[[Any, Any], bool]]] = {
    "gt": ("more than", lambda value, bound: value > bound),
    "ge": ("at least", lambda value, bound: value >= bound),
    "lt": ("less than", lambda value, bound: value < bound),
    "le": ("at most", lambda value, bound: value <= bound),
}


class Notes(Struct, frozen=True):
    """What an annotation says that msgspec does not act on.

    `description` tells in words what a pattern wants, `bounds` are those of a decimal number, and a mapping with
    `keys_of` takes any of that struct's keys.
    """

    description: str = "another form"
    bounds: dict[str, Any] = {}
    keys_of: type | None = None


def notes_of(kind: inspect.Type) -> Notes:
    if not isinstance(kind, inspect.Metadata):
        return Notes()
    annotation = cast("Any", kind)
    extra: dict[str, Any] = annotation.extra or {}
    schema: dict[str, Any] = annotation.extra_json_schema or {}
    bounds = {name: bound for name, bound in extra.items() if name in _BOUNDS}
    return Notes(schema.get("description", Notes().description), bounds, extra.get("keys_of"))


def refusal(value: Any, kind: inspect.Type, notes: Notes) -> str | None:
    """Why a value of the right Python type is not of `kind`, whose annotation says `notes`; None if it is.

    The reason never holds the value: in the wrong place it may be a secret.
    """
    match kind:
        case inspect.StrType():
            return _text_refusal(value, kind, notes.description)
        case inspect.IntType() | inspect.FloatType():
            return _number_refusal(value, {name: getattr(kind, name) for name in _BOUNDS})
        case inspect.DecimalType():
            return _decimal_refusal(value, notes.bounds)
        case inspect.LiteralType():
            return _choice_refusal(value, [str(choice) for choice in kind.values])
        case inspect.CustomType():
            return _secret_refusal(value)
        case _:
            return None


def nearest(name: str, known: Collection[str]) -> str:
    """A hint at the known name most like `name`, to end a message with, or nothing. Among very many none is sought."""
    if len(known) > MAX_CANDIDATES:
        return ""
    found = difflib.get_close_matches(name[:80], [each for each in known if len(each) <= 80], n=1, cutoff=0.7)
    return f"; did you mean `{found[0]}`?" if found else ""


def _text_refusal(value: str, kind: inspect.StrType, description: str) -> str | None:
    if kind.min_length is not None and len(value) < kind.min_length:
        return "must not be empty"
    if kind.max_length is not None and len(value) > kind.max_length:
        return f"must be at most {kind.max_length} characters long"
    if kind.pattern is not None and not re.search(kind.pattern, value):
        return f"expected {description}"
    return None


def _number_refusal(value: float, bounds: Mapping[str, Any]) -> str | None:
    if isinstance(value, float) and not math.isfinite(value):
        return "expected a finite number"
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        return "expected a number of at most 64 bits"
    return _range_refusal(value, bounds)


def _decimal_refusal(value: float | str, bounds: Mapping[str, Any]) -> str | None:
    if isinstance(value, str):
        return _range_refusal(Decimal(value), bounds) if _DECIMAL.fullmatch(value) else "expected a decimal number"
    return _number_refusal(value, bounds)


def _range_refusal(value: Any, bounds: Mapping[str, Any]) -> str | None:
    wanted = {name: bound for name, bound in bounds.items() if bound is not None}
    if all(_BOUNDS[name][1](value, bound) for name, bound in wanted.items()):
        return None
    return "must be " + " and ".join(f"{_BOUNDS[name][0]} {bound}" for name, bound in wanted.items())


def _choice_refusal(value: str, choices: list[str]) -> str | None:
    if value in choices:
        return None
    return f"expected {' or '.join(f'`{choice}`' for choice in choices)}{nearest(value, choices)}"


def _secret_refusal(value: str) -> str | None:
    if value == MASK:
        return f"`{MASK}` only stands for a secret: write the secret itself or `${{NAME}}`"
    if len(value) > MAX_SECRET_LENGTH:
        return f"must be at most {MAX_SECRET_LENGTH} characters long"
    return None
