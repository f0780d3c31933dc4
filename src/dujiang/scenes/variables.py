"""The values of a scene's variables: what a declaration takes, and how a value is written into a text."""

import math
from collections.abc import Callable
from typing import Any

from dujiang.core.problem import shortened
from dujiang.scenes.settings import Value, VariableSettings


def _is_integer(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and -(2**63) <= value < 2**63


_IS_OF_TYPE: dict[str, Callable[[Any], bool]] = {
    "string": lambda value: isinstance(value, str),
    "integer": _is_integer,
    "number": lambda value: _is_integer(value) or (isinstance(value, float) and math.isfinite(value)),
    "boolean": lambda value: isinstance(value, bool),
}

_ARTICLES = {"string": "a string", "integer": "an integer", "number": "a number", "boolean": "true or false"}


def refusal(declared: VariableSettings, value: object) -> str | None:
    """Why a declaration does not take a value, as the end of a sentence that starts with "must be"; None if it does."""
    if not _IS_OF_TYPE[declared.type](value):
        return _ARTICLES[declared.type]
    if declared.enum is not None and value not in declared.enum:
        return "one of " + ", ".join(f"`{shortened(as_text(each))}`" for each in declared.enum[:20])
    if isinstance(value, str):
        if declared.max_length is not None and len(value) > declared.max_length:
            return f"at most {declared.max_length} characters long"
    elif isinstance(value, int | float) and not isinstance(value, bool):
        return _out_of_range(declared, value)
    return None


def _out_of_range(declared: VariableSettings, value: float) -> str | None:
    if declared.minimum is not None and value < declared.minimum:
        return f"at least {as_text(declared.minimum)}"
    if declared.maximum is not None and value > declared.maximum:
        return f"at most {as_text(declared.maximum)}"
    return None


def as_text(value: Value) -> str:
    """Numbers in decimal, whole ones without a point; truth as in JSON."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return str(int(value))
    return str(value)
