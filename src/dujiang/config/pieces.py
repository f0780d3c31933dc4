"""A document in pieces: one name of a section, or a section without names, is read and written at a time.

One call of a JSON library over a large document would keep every other thread of the process waiting until it is done.
"""

from collections.abc import Iterable, Iterator
from typing import Any, cast

import msgspec

from dujiang.config.entries import NAMED, Tree

Piece = tuple[str, str | None, Any]
"""The section, the name in it, and what that holds; without a name the section as a whole, empty where names follow."""


def pieces(tree: Tree) -> Iterator[Piece]:
    """The pieces of a tree, which may be unsound, in its order."""
    for section, content in tree.items():
        if section in NAMED and isinstance(content, dict):
            yield section, None, {}
            yield from ((section, name, part) for name, part in cast("Tree", content).items())
        else:
            yield section, None, content


def joined(parts: Iterable[Piece]) -> Tree:
    """The tree that `pieces` took apart."""
    tree: Tree = {}
    for section, name, part in parts:
        if name is None:
            tree[section] = part
        else:
            tree[section][name] = part
    return tree


def json_of(tree: Tree) -> bytes:
    """A tree as JSON, encoded piece by piece."""
    sections = (_json(section) + b":" + _content(section, content) for section, content in tree.items())
    return b"{" + b",".join(sections) + b"}"


def _content(section: str, content: Any) -> bytes:
    if section not in NAMED or not isinstance(content, dict):
        return _json(content)
    names = cast("Tree", content)
    return b"{" + b",".join(_json(name) + b":" + _json(part) for name, part in names.items()) + b"}"


_json = msgspec.json.Encoder().encode
