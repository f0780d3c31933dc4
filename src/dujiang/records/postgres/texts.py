"""Texts as PostgreSQL can store them: it takes any character but NUL."""

from typing import Any, TypeVar, cast

import msgspec
from msgspec import Struct

_NUL, _INSTEAD = "\0", "\ufffd"

S = TypeVar("S", bound=Struct)


def storable(struct: S) -> S:
    """The same with U+FFFD for every NUL in its texts, at any depth: what is stored so is found so."""
    values = msgspec.structs.asdict(struct)
    mended = {name: _mended(value) for name, value in values.items()}
    return struct if mended == values else msgspec.structs.replace(struct, **mended)


def _mended(value: Any) -> Any:
    match value:
        case str():
            return value.replace(_NUL, _INSTEAD)
        case tuple():
            return tuple(_mended(each) for each in cast("tuple[Any, ...]", value))
        case Struct():
            return storable(value)
        case _:
            return value
