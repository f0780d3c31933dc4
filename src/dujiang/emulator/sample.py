"""A JSON value that satisfies a JSON Schema, for tool arguments and structured answers. Same schema, same value."""

import math
from collections.abc import Callable
from typing import Any, cast

_MAX_DEPTH = 32
_SHALLOW = 6
_MAX_VALUES = 10_000
_MAX_LENGTH = 10_000
_TEXT = "模拟 emulated"
_FORMATS = {
    "date": "2026-01-31",
    "time": "08:00:00Z",
    "date-time": "2026-01-31T08:00:00Z",
    "duration": "PT1H",
    "email": "emulated@example.com",
    "hostname": "example.com",
    "ipv4": "192.0.2.1",
    "ipv6": "2001:db8::1",
    "uri": "https://example.com/",
    "uuid": "00000000-0000-4000-8000-000000000000",
}

Schema = dict[str, Any]


class BadSchema(ValueError):
    """The schema is not one, or asks for more values than a sample may have."""


def sample(schema: object) -> Any:
    """Understands types, `required`, `enum`, `const`, bounds, formats, local `$ref`, `anyOf`, `oneOf`, `allOf`.

    Not understood, and therefore possibly unmet: `pattern`, `not`, `if`, `uniqueItems`, references to elsewhere.
    Raises `BadSchema`.
    """
    root = _as_schema(schema)
    try:
        return _Sampler(root).value(root, 0)
    except (TypeError, ValueError, AttributeError, LookupError, ArithmeticError) as problem:
        raise BadSchema(f"The JSON Schema cannot be read: {problem}") from None


def _as_schema(schema: object) -> Schema:
    return cast(Schema, schema) if isinstance(schema, dict) else {}


class _Sampler:
    """One walk through one schema, with a bound on the values it makes."""

    def __init__(self, root: Schema) -> None:
        self._root = root
        self._values_left = _MAX_VALUES

    def value(self, schema: Schema, depth: int) -> Any:
        self._values_left -= 1
        if self._values_left < 0:
            raise ValueError(f"it asks for more than {_MAX_VALUES} values")
        schema = self._resolved(schema)
        for key in ("const", "default"):
            if key in schema:
                return schema[key]
        if schema.get("enum"):
            return schema["enum"][0]
        if depth >= _MAX_DEPTH:
            return None
        for key in ("anyOf", "oneOf"):
            if schema.get(key):
                return self.value(self._branch(schema[key], depth), depth + 1)
        return self._typed(_type(schema), schema, depth)

    def _resolved(self, schema: Schema) -> Schema:
        """Follow local references and merge `allOf`, a bounded number of times."""
        for _ in range(_MAX_DEPTH):
            if "$ref" in schema:
                rest = {key: value for key, value in schema.items() if key != "$ref"}
                schema = _merged(self._target(str(schema["$ref"])), rest)
            elif schema.get("allOf"):
                rest = {key: value for key, value in schema.items() if key != "allOf"}
                for part in schema["allOf"]:
                    rest = _merged(rest, _as_schema(part))
                schema = rest
            else:
                return schema
        return {}

    def _target(self, reference: str) -> Schema:
        found: Any = self._root
        for part in reference.removeprefix("#").split("/")[1:]:
            found = _as_schema(found).get(part.replace("~1", "/").replace("~0", "~"))
        return _as_schema(found)

    def _branch(self, options: list[object], depth: int) -> Schema:
        """The first option; far down the one that ends a recursion, where there is one."""
        branches = [_as_schema(option) for option in options]
        if depth >= _SHALLOW:
            return next((branch for branch in branches if _type(self._resolved(branch)) == "null"), branches[0])
        return branches[0]

    def _typed(self, name: str, schema: Schema, depth: int) -> Any:
        if name == "object":
            return self._object(schema, depth)
        if name == "array":
            return self._array(schema, depth)
        return _SIMPLE.get(name, _string)(schema)

    def _object(self, schema: Schema, depth: int) -> dict[str, Any]:
        properties = _as_schema(schema.get("properties"))
        wanted = [str(name) for name in schema.get("required", properties)]
        return {name: self.value(_as_schema(properties.get(name)), depth + 1) for name in wanted}

    def _array(self, schema: Schema, depth: int) -> list[Any]:
        fixed = [_as_schema(item) for item in schema.get("prefixItems", [])]
        length = max(int(schema.get("minItems", 0)), len(fixed), 1 if depth < _SHALLOW else 0)
        length = min(length, int(schema.get("maxItems", length)), _MAX_VALUES)
        items = [*fixed, *[_as_schema(schema.get("items"))] * length][:length]
        return [self.value(item, depth + 1) for item in items]


def _merged(first: Schema, second: Schema) -> Schema:
    properties = {**first.get("properties", {}), **second.get("properties", {})}
    required = [*first.get("required", []), *second.get("required", [])]
    merged = {**first, **second}
    if properties:
        merged["properties"] = properties
    if required:
        merged["required"] = required
    return merged


def _type(schema: Schema) -> str:
    declared = schema.get("type")
    if isinstance(declared, list):
        names = [str(name) for name in cast(list[object], declared)]
        return next((name for name in names if name != "null"), "null")
    if isinstance(declared, str):
        return declared
    return "object" if "properties" in schema else "array" if "items" in schema else "string"


def _number(schema: Schema) -> float | int:
    step = schema.get("multipleOf", 1)
    low = schema.get("minimum")
    if "exclusiveMinimum" in schema:
        low = schema["exclusiveMinimum"] + (step if schema.get("type") == "integer" else step / 2)
    high = schema.get("maximum")
    if "exclusiveMaximum" in schema:
        high = schema["exclusiveMaximum"] - (step if schema.get("type") == "integer" else step / 2)
    value = low if low is not None else 1 if high is None else min(1, high)
    return math.ceil(value / step) * step if "multipleOf" in schema else value


def _string(schema: Schema) -> str:
    text = _FORMATS.get(str(schema.get("format")), _TEXT)
    shortest = min(int(schema.get("minLength", 0)), _MAX_LENGTH)
    text = text * (shortest // len(text) + 1) if len(text) < shortest else text
    return text[: int(schema.get("maxLength", len(text)))]


_SIMPLE: dict[str, Callable[[Schema], Any]] = {
    "integer": lambda schema: math.ceil(_number(schema)),
    "number": _number,
    "boolean": lambda _: True,
    "null": lambda _: None,
}
