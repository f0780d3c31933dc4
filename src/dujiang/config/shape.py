"""Holding a tree of plain values against a type: every problem with its path, and what is sound of the tree.

msgspec itself stops at the first problem; this reads its description of the types (`msgspec.inspect`) and goes on.
"""

from collections.abc import Callable
from functools import cache
from typing import Any, Final

from msgspec import inspect

from dujiang.config.places import Place, path_of
from dujiang.config.problems import Problems
from dujiang.config.scalars import nearest, notes_of, refusal
from dujiang.core.problem import shortened

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


def sound_part(tree: Any, type_: type, problems: Problems, place: Place = None) -> Any:
    """What of `tree` is of `type_`: without unknown keys, bad optional values, and entries that lack something.

    `place` is where the tree itself stands. `BAD` when nothing is sound.
    """
    return _reader_of_type(type_)(tree, place, problems)


Reader = Callable[[Any, Place, Problems], Any]
"""Tells what of a value at a place is sound, and adds what is not to the problems."""


@cache
def _reader_of_type(type_: type) -> Reader:
    return _reader(described(type_))


def _reader(kind: inspect.Type) -> Reader:
    """A reader compiled from a type's description: a document has many values and few types."""
    inner = _bare(kind)
    match inner:
        case inspect.AnyType():
            return _anything
        case inspect.UnionType():
            return _read_one_of(inner)
        case inspect.StructType():
            return _read_if(inner, _read_struct(inner))
        case inspect.DictType():
            return _read_if(inner, _read_mapping(inner))
        case inspect.VarTupleType():
            return _read_if(inner, _read_list(inner))
        case _:
            return _read_if(inner, _read_scalar(inner, kind))


def _anything(value: Any, place: Place, problems: Problems) -> Any:
    return value


def _refuse(problems: Problems, place: Place, message: str) -> Any:
    problems.add(path_of(place), message)
    return BAD


def _read_if(kind: inspect.Type, read: Reader) -> Reader:
    """Reads values of the right Python type, refuses others."""
    wanted, types = _TYPES[type(kind)]
    is_truth = isinstance(kind, inspect.BoolType)

    def reader(value: Any, place: Place, problems: Problems) -> Any:
        if isinstance(value, types) and isinstance(value, bool) == is_truth:
            return read(value, place, problems)
        return _refuse(problems, place, f"expected {wanted}, got {_noun(value)}")

    return reader


def _read_scalar(inner: inspect.Type, kind: inspect.Type) -> Reader:
    notes = notes_of(kind)

    def reader(value: Any, place: Place, problems: Problems) -> Any:
        reason = refusal(value, inner, notes)
        return _refuse(problems, place, reason) if reason else value

    return reader


def _read_one_of(kind: inspect.UnionType) -> Reader:
    choices = [(each, _reader(each)) for each in kind.types]
    bare = [_bare(each) for each in kind.types]
    names = dict.fromkeys(_TYPES[type(each)][0] for each in bare if not isinstance(each, inspect.NoneType))
    wanted = " or ".join(names)

    def reader(value: Any, place: Place, problems: Problems) -> Any:
        for each, read in choices:
            if _fits(value, each):
                return read(value, place, problems)
        return _refuse(problems, place, f"expected {wanted}, got {_noun(value)}")

    return reader


def _read_struct(kind: inspect.StructType) -> Reader:
    fields = {field.encode_name: _reader(field.type) for field in kind.fields}
    required = [field.encode_name for field in kind.fields if field.required]

    def reader(value: dict[str, Any], place: Place, problems: Problems) -> Any:
        sound: dict[str, Any] = {}
        for key, item in value.items():
            read = fields.get(key)
            if read is None:
                if not problems.is_full:
                    message = f"unknown key `{shortened(key)}`{nearest(key, fields)}"
                    problems.add(path_of((place, key)), message)
                continue
            part = read(item, (place, key), problems)
            if part is not BAD:
                sound[key] = part
        for name in required:
            if name not in value:
                problems.add(path_of((place, name)), "is missing")
        return sound if all(name in sound for name in required) else BAD

    return reader


def _read_mapping(kind: inspect.DictType) -> Reader:
    read_key, read_value = _reader(kind.key_type), _reader(kind.value_type)

    def reader(value: dict[str, Any], place: Place, problems: Problems) -> Any:
        sound: dict[str, Any] = {}
        for key, item in value.items():
            below = (place, key)
            name = read_key(key, below, problems)
            part = read_value(item, below, problems)
            if name is not BAD and part is not BAD:
                sound[key] = part
        return sound

    return reader


def _read_list(kind: inspect.VarTupleType) -> Reader:
    read = _reader(kind.item_type)

    def reader(value: list[Any], place: Place, problems: Problems) -> Any:
        if kind.min_length is not None and len(value) < kind.min_length:
            return _refuse(problems, place, "must not be empty")
        parts = [read(item, (place, n), problems) for n, item in enumerate(value)]
        return BAD if any(part is BAD for part in parts) else parts

    return reader


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
