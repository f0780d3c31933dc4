"""Which JSON Schemas a scene may demand of an answer: those that any answer can be held against in bounded time.

The vocabulary is JSON Schema 2020-12's, without what can take time beyond all bounds (regular expressions, uniqueness,
what a value is not yet evaluated by), without references that leave the schema, and without schemas that hold
themselves. So the work is at most one step for each part of the schema and each value of the answer.
"""

import re
from collections.abc import Iterator, Mapping
from functools import cache
from itertools import islice
from typing import Any, cast

import msgspec
from msgspec import Struct

from dujiang.core.problem import Problem, at, shortened

MAX_BYTES = 64 * 1024
MAX_DEPTH = 32
MAX_PARTS = 1_000

DIALECT = "https://json-schema.org/draft/2020-12/schema"

Schema = Mapping[str, Any]

_ONE = frozenset({"additionalProperties", "items", "contains", "propertyNames", "not", "if", "then", "else"})
_SEVERAL = frozenset({"allOf", "anyOf", "oneOf", "prefixItems"})
_NAMED = frozenset({"properties", "dependentSchemas"})
_DEFINITIONS = frozenset({"$defs", "definitions"})
_COUNTED = frozenset({"enum", "required"})
_NOTES = frozenset(
    {
        "$schema",
        "$ref",
        "$comment",
        "title",
        "description",
        "default",
        "examples",
        "deprecated",
        "readOnly",
        "writeOnly",
        "format",
    }
)
_OF_VALUES = frozenset(
    {
        "type",
        "const",
        "multipleOf",
        "maximum",
        "exclusiveMaximum",
        "minimum",
        "exclusiveMinimum",
        "maxLength",
        "minLength",
    }
)
_OF_SIZES = frozenset(
    {"maxItems", "minItems", "maxContains", "minContains", "maxProperties", "minProperties", "dependentRequired"}
)
KEYWORDS = _ONE | _SEVERAL | _NAMED | _DEFINITIONS | _COUNTED | _NOTES | _OF_VALUES | _OF_SIZES

_DEFINITION = re.compile(r"#/(\$defs|definitions)/([^/~%]+)")
_MAX_SHOWN = 20

_REFUSED = {
    "pattern": "regular expressions are not taken: they can take forever. `enum` lists what is allowed",
    "patternProperties": "regular expressions are not taken: they can take forever. `properties` names them",
    "uniqueItems": "is not taken: on long lists it can take forever",
}


def schema_problems(schema: Schema) -> Iterator[Problem]:
    """What is wrong with a schema, each with its path from the schema's root."""
    if len(msgspec.json.encode(schema)) > MAX_BYTES:
        yield Problem("", f"is larger than {MAX_BYTES // 1024} KiB")
        return
    found = list(_bad_parts(schema, schema, ""))
    if not found:
        trouble = _trouble_of(_Sizes(schema).of(schema))
        found = [Problem("", trouble)] if trouble is not None else list(islice(_malformed(schema), _MAX_SHOWN))
    yield from found


def parts_of(schema: Schema) -> int:
    """How many steps a sound schema may take for one value."""
    return _Sizes(schema).of(schema).parts


def _bad_parts(schema: object, root: Schema, path: str) -> Iterator[Problem]:
    """Keywords that are not taken, and references that lead nowhere."""
    if not isinstance(schema, dict):
        return
    known = cast("dict[str, Any]", schema)
    for keyword, value in known.items():
        place = at(path, keyword)
        if keyword not in KEYWORDS:
            yield Problem(place, _REFUSED.get(keyword, f"`{shortened(keyword)}` is not taken in an output schema"))
        elif keyword == "$schema" and str(value).removesuffix("#") != DIALECT:
            yield Problem(place, f"must be `{DIALECT}`, or be left out")
        elif keyword == "$ref" and not isinstance(_referred(value, root), dict | bool):
            yield Problem(place, "must lead to a part of the same schema, like `#/$defs/NAME`")
    for place, part in _below(known, path):
        yield from _bad_parts(part, root, place)


def _below(schema: Mapping[str, Any], path: str) -> Iterator[tuple[str, Any]]:
    """The schemas right below one, definitions included, each with its path."""
    for keyword, value in schema.items():
        place = at(path, keyword)
        if keyword in _ONE:
            yield place, value
        elif keyword in _SEVERAL and isinstance(value, list):
            yield from ((at(place, n), part) for n, part in enumerate(cast("list[Any]", value)))
        elif keyword in _NAMED | _DEFINITIONS and isinstance(value, dict):
            yield from ((at(place, name), part) for name, part in cast("dict[str, Any]", value).items())


def _referred(reference: object, root: Schema) -> Any:
    """The definition that a reference names; None for one that leads elsewhere."""
    found = _DEFINITION.fullmatch(reference) if isinstance(reference, str) else None
    definitions = root.get(found[1]) if found else None
    return cast("dict[str, Any]", definitions).get(found[2]) if found and isinstance(definitions, dict) else None


class _Size(Struct, frozen=True):
    """How many parts a schema has and how deep they are nested, with everything that it refers to; or its trouble."""

    parts: int = 1
    depth: int = 1
    trouble: str | None = None


class _Sizes:
    """Counts parts through references; what was counted once is remembered."""

    def __init__(self, root: Schema) -> None:
        self._root = root
        self._open: set[int] = set()
        self._known: dict[int, _Size] = {}

    def of(self, schema: Any) -> _Size:
        if not isinstance(schema, dict):
            return _Size()
        key = id(cast("object", schema))
        if key in self._open:
            return _Size(trouble="holds itself by `$ref`, so that there is no end to it")
        if key not in self._known:
            self._open.add(key)
            self._known[key] = self._count(cast("dict[str, Any]", schema))
            self._open.discard(key)
        return self._known[key]

    def _count(self, schema: dict[str, Any]) -> _Size:
        listed = sum(len(cast("list[Any]", found)) for word in _COUNTED if isinstance(found := schema.get(word), list))
        wanted = [part for _, part in _below({k: v for k, v in schema.items() if k not in _DEFINITIONS}, "")]
        if "$ref" in schema:
            wanted.append(_referred(schema["$ref"], self._root))
        sizes = [self.of(part) for part in wanted]
        return _Size(
            parts=1 + listed + sum(size.parts for size in sizes),
            depth=1 + max((size.depth for size in sizes), default=0),
            trouble=next((size.trouble for size in sizes if size.trouble is not None), None),
        )


def _trouble_of(size: _Size) -> str | None:
    if size.depth > MAX_DEPTH:
        return f"is nested more than {MAX_DEPTH} levels deep, counting what `$ref` leads to"
    if size.parts > MAX_PARTS:
        return f"has more than {MAX_PARTS} parts, counting a part wherever `$ref` puts it"
    return size.trouble


def _malformed(schema: Schema) -> Iterator[Problem]:
    """Where a schema is none by the rules of JSON Schema itself."""
    for error in _meta_validator().iter_errors(schema):
        path = ""
        for step in error.absolute_path:
            path = at(path, step)
        yield Problem(path, shortened(error.message, 200))


@cache
def _meta_validator() -> Any:
    from jsonschema import Draft202012Validator

    return Draft202012Validator(Draft202012Validator.META_SCHEMA)
