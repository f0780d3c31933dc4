"""What the audit tells of a change of the document: how the names stood that it changed, without their secrets."""

from collections.abc import Collection
from typing import Any

from dujiang.config.entries import NAMED, Key, Tree
from dujiang.config.unmask import shown_tree

MAX_NAMES = 20
"""Of a change of more, the audit has the revision's number alone: `GET /config/diff` tells the rest."""


def told(tree: Tree, names: Collection[Key]) -> Tree | None:
    """The part of a document under some names; None where they are many."""
    if len(names) > MAX_NAMES:
        return None
    part: dict[str, Any] = {}
    for section, name in sorted(names):
        if section not in tree:
            continue
        if section not in NAMED:
            part[section] = tree[section]
        elif name in tree[section]:
            part.setdefault(section, {})[name] = tree[section][name]
    return shown_tree(part)
