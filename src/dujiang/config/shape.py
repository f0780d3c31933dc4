"""Holding a tree of plain values against a type: every problem with its path, and what is sound of the tree.

msgspec itself stops at the first problem; this reads its description of the types (`msgspec.inspect`) and goes on.
"""

from functools import cache
from typing import Any, Final

from msgspec import inspect

from dujiang.config.problems import Problems
from dujiang.config.scalars import nearest, notes_of, refusal
from dujiang.core.problem import at, shortened

BAD: Final = object()
"""What stands for a value that is of no use."""

_TYPES: dict[type[inspect.Type], tuple[str, tuple[type, ...]]] = {
    inspect.BoolType: ("`true` or `false`", (bool,)),
    inspect.CustomType: ("text", (str,)),
    inspect.DecimalType: ("a number", (int, float, str)),
    inspect.DictType: ("a mapping", (dict,)),
    inspect.FloatType: ("a number", (int, float)),
    inspect.IntType: ("a whole number", (int,)),
    inspect.LiteralType: ("text", (str,)),
    inspect.NoneType: ("nothing", (type(None),)),
    inspect.StrType: ("text", (str,)),
    inspect.StructType: ("a mapping", (dict,)),
    inspect.VarTupleType: ("a list", (list,)),
}
"""How each type is called in a message, and the plain Python types that its values have in a tree."""

_NOUNS = {bool: "`true` or `false`", dict: "a mapping", float: "a number", int: "a number", list: "a list", str: "text"}

described = cache(inspect.type_info)


def sound_part(tree: Any, type_: type, problems: Problems) -> Any:
    """What of `tree` is of `type_`: without unknown keys, bad optional values, and entries that lack something.

    `BAD` when nothing is.
    """
    return _Reader(problems).read(tree, described(type_), "")


class _Reader:
    def __init__(self, problems: Problems) -> None:
        self._problems = problems

    def read(self, value: Any, kind: inspect.Type, path: str) -> Any:
        inner = _bare(kind)
        if isinstance(inner, inspect.AnyType):
            return value
        if isinstance(inner, inspect.UnionType):
            return self._one_of(value, inner, path)
        if not _fits(value, inner):
            return self._refuse(path, f"expected {_TYPES[type(inner)][0]}, got {_noun(value)}")
        if isinstance(inner, inspect.StructType | inspect.DictType | inspect.VarTupleType):
            return self._whole(value, inner, path)
        reason = refusal(value, inner, notes_of(kind))
        return self._refuse(path, reason) if reason else value

    def _refuse(self, path: str, message: str) -> Any:
        self._problems.add(path, message)
        return BAD

    def _one_of(self, value: Any, kind: inspect.UnionType, path: str) -> Any:
        for each in kind.types:
            if _fits(value, each):
                return self.read(value, each, path)
        bare = [_bare(each) for each in kind.types]
        wanted = dict.fromkeys(_TYPES[type(each)][0] for each in bare if not isinstance(each, inspect.NoneType))
        return self._refuse(path, f"expected {' or '.join(wanted)}, got {_noun(value)}")

    def _whole(self, value: Any, kind: inspect.Type, path: str) -> Any:
        if isinstance(kind, inspect.StructType):
            return self._struct(value, kind, path)
        if isinstance(kind, inspect.DictType):
            return self._mapping(value, kind, path)
        if isinstance(kind, inspect.VarTupleType):
            return self._list(value, kind, path)
        raise TypeError(f"no reader for {kind}")

    def _struct(self, value: dict[str, Any], kind: inspect.StructType, path: str) -> Any:
        fields = {field.encode_name: field for field in kind.fields}
        sound: dict[str, Any] = {}
        for key, item in value.items():
            if key in fields:
                part = self.read(item, fields[key].type, at(path, key))
                if part is not BAD:
                    sound[key] = part
            elif not self._problems.is_full:
                self._problems.add(at(path, key), f"unknown key `{shortened(key)}`{nearest(key, fields)}")
        required = [name for name, field in fields.items() if field.required]
        for name in required:
            if name not in value:
                self._problems.add(at(path, name), "is missing")
        return sound if all(name in sound for name in required) else BAD

    def _mapping(self, value: dict[str, Any], kind: inspect.DictType, path: str) -> Any:
        sound: dict[str, Any] = {}
        for key, item in value.items():
            name = self.read(key, kind.key_type, at(path, key))
            part = self.read(item, kind.value_type, at(path, key))
            if name is not BAD and part is not BAD:
                sound[key] = part
        return sound

    def _list(self, value: list[Any], kind: inspect.VarTupleType, path: str) -> Any:
        if kind.min_length is not None and len(value) < kind.min_length:
            return self._refuse(path, "must not be empty")
        parts = [self.read(item, kind.item_type, at(path, n)) for n, item in enumerate(value)]
        return BAD if any(part is BAD for part in parts) else parts


def _fits(value: Any, kind: inspect.Type) -> bool:
    inner = _bare(kind)
    if isinstance(value, bool):
        return isinstance(inner, inspect.BoolType)
    return isinstance(value, _TYPES[type(inner)][1])


def _bare(kind: inspect.Type) -> inspect.Type:
    """The type inside its annotation; for a mapping that takes the keys of a struct, that struct."""
    if not isinstance(kind, inspect.Metadata):
        return kind
    keys_of = notes_of(kind).keys_of
    return kind.type if keys_of is None else described(keys_of)


def _noun(value: object) -> str:
    return next((noun for type_, noun in _NOUNS.items() if isinstance(value, type_)), "nothing")
