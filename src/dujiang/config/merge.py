"""Changing a document without touching it: what stays the same is shared, so that identity tells what changed."""

from typing import Any, cast

from dujiang.config.entries import NAMED, Tree, entry_of

_ABSENT = object()


def merged(tree: Tree, patch: Tree) -> Tree:
    """The tree with a JSON merge patch (RFC 7396) applied; the tree itself where that changes nothing."""
    result = dict(tree)
    for name, value in patch.items():
        known = tree.get(name, _ABSENT)
        if value is None:
            result.pop(name, None)
        elif isinstance(value, dict):
            inner = cast("Tree", known) if isinstance(known, dict) else {}
            result[name] = merged(inner, cast("Tree", value))
        elif not _is_same(known, value):
            result[name] = value
    return tree if _is_shared(result, tree) else result


def sharing(tree: Tree, known: Tree) -> Tree:
    """The tree with the parts of a known one in place of those that mean the same."""
    made = {section: _shared(section, content, known.get(section, _ABSENT)) for section, content in tree.items()}
    return known if _is_shared(made, known) else made


def _shared(section: str, content: Any, known: Any) -> Any:
    if content is known:
        return cast("object", known)
    if section not in NAMED or not isinstance(content, dict) or not isinstance(known, dict):
        return cast("object", known if _is_same(known, content) else content)
    before = cast("Tree", known)
    names = cast("Tree", content)
    made = {name: part if before.get(name) is part else _one_of(part, before, name) for name, part in names.items()}
    return before if _is_shared(made, before) else made


def _one_of(part: Any, before: Tree, name: str) -> Any:
    return before[name] if _is_same(before.get(name, _ABSENT), part) else part


def _is_shared(made: Tree, known: Tree) -> bool:
    return made.keys() == known.keys() and all(made[name] is known[name] for name in made)


def _is_same(one: Any, other: Any) -> bool:
    """As JSON: Python takes 1, 1.0 and True for one value."""
    return one is not _ABSENT and (one is other or entry_of(one).digest == entry_of(other).digest)
