"""Changing a document without touching it: what stays the same is shared, so that identity tells what changed."""

from collections.abc import Collection
from typing import Any, cast

from dujiang.config.entries import NAMED, Key, Tree, entry_of

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


def grafted(tree: Tree, fresh: Tree, names: Collection[Key]) -> Tree:
    """The tree with some names as another has them, gone where that has none. The empty name is a section's own."""
    result = dict(tree)
    for section in {section for section, _ in names}:
        if section in fresh and section not in NAMED:
            result[section] = fresh[section]
        elif section not in fresh and (section, "") in names:
            result.pop(section, None)
        else:
            touched = [name for each, name in names if each == section and name]
            result[section] = _with_names(tree.get(section, {}), fresh.get(section, {}), touched)
    return result


def _with_names(content: Tree, fresh: Tree, touched: Collection[str]) -> Tree:
    made = content | {name: fresh[name] for name in touched if name in fresh}
    for name in touched:
        if name not in fresh:
            made.pop(name, None)
    return made


def sharing(tree: Tree, known: Tree) -> Tree:
    """The tree with the parts of a known one in place of those that mean the same."""
    made = {section: _shared(section, content, known.get(section, _ABSENT)) for section, content in tree.items()}
    return known if _is_shared(made, known) else made


def unshared(tree: Tree, other: Tree) -> Tree:
    """The parts of a sound document that are not the other's own."""
    made: Tree = {}
    for section, content in tree.items():
        known = other.get(section)
        if content is known:
            continue
        if section in NAMED and known is not None:
            made[section] = {name: part for name, part in content.items() if known.get(name) is not part}
        else:
            made[section] = content
    return made


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
