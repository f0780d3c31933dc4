"""What lies between two documents, leaf by leaf."""

from collections.abc import Iterator
from typing import Any, cast

from msgspec import Struct

from dujiang.config.entries import Tree, entry_of
from dujiang.core.problem import at


class Difference(Struct, frozen=True):
    """A path, and what is there before and after; None is nothing."""

    path: str
    before: Any
    after: Any


def differences(before: Tree, after: Tree, path: str = "") -> Iterator[Difference]:
    """In the order of the later document, then what it has no more. Lists are compared as a whole."""
    for name in (*after, *(name for name in before if name not in after)):
        one, other = before.get(name), after.get(name)
        if one is other:
            continue
        if isinstance(one, dict) and isinstance(other, dict):
            yield from differences(cast("Tree", one), cast("Tree", other), at(path, name))
        elif entry_of(one) != entry_of(other):
            yield Difference(at(path, name), one, other)
