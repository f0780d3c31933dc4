"""From a tree to a checked document. What did not change since the last one is neither read nor checked again.

Trees are compared by identity: whoever changes a document copies the way to the change and shares all the rest.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, cast

import msgspec
from msgspec import Struct, structs

from dujiang.config.contradictions import contradictions
from dujiang.config.entries import NAMED, Tree
from dujiang.config.environment import reference_problems as environment_problems
from dujiang.config.problems import Problems
from dujiang.config.references import known_names, reference_problems
from dujiang.config.settings import Document, Sections
from dujiang.config.shape import BAD, sound_part
from dujiang.config.upstreams import upstream_problems
from dujiang.core.secret import read_secret

Convert = Callable[[Tree], Sections]
"""From a part of a document to its settings."""

_APART = frozenset({"models", "scenes", "apps", "roles"})
"""Sections whose names do not refer to each other: one that changed is checked without the others."""


class Checked(Struct, frozen=True):
    """A sound document, and the tree that it was read from; `full` has the default sections too. None ever changes."""

    tree: Tree
    full: Tree
    document: Document


class Rules(Struct, frozen=True):
    """What a document is checked against, and what stands in for the sections that it leaves out.

    `environ` is None where what references lead to is not known.
    """

    known_kinds: frozenset[str]
    environ: Mapping[str, str] | None
    default: Tree


def check_tree(tree: Tree, rules: Rules, before: Checked | None = None) -> Checked:
    """Raises `InvalidDocument` with all that is wrong."""
    problems = Problems()

    def convert(part: Tree) -> Sections:
        return _converted(sound_part(part, Sections, problems))

    made = _read(tree, rules, before, convert)
    suspect = made.document if before is None else suspects(made, before)
    for found in (
        environment_problems(suspect, rules.environ),
        upstream_problems(suspect, rules.known_kinds, rules.environ),
        reference_problems(suspect, known_names(made.full)),
        contradictions(suspect),
    ):
        problems.extend(found)
    problems.refuse_if_any()
    return made


def take_tree(tree: Tree, rules: Rules, before: Checked | None = None) -> Checked:
    """A tree that was checked before it came here.

    Raises `msgspec.ValidationError` for what no release like this one has checked.
    """
    return _read(tree, rules, before, _converted)


def _read(tree: Tree, rules: Rules, before: Checked | None, convert: Convert) -> Checked:
    full = {**tree, **_absent(tree, rules.default)}
    sections = convert(full) if before is None else _read_changed(full, before, convert)
    declared = frozenset[str]() if tree == rules.default else frozenset(_declared(tree))
    return Checked(tree, full, Document(**structs.asdict(sections), declared=declared))


def _absent(tree: Tree, default: Tree) -> Tree:
    """The default document's sections in place of those that a document needs and leaves out."""
    names = [name for name in ("roles", "scenes", "money") if name not in tree]
    if "providers" not in tree and "models" not in tree:
        names += ["providers", "models"]
    return {name: default[name] for name in names}


def _read_changed(tree: Tree, before: Checked, convert: Convert) -> Sections:
    kept: dict[str, Any] = {}
    changed: Tree = {}
    for section, content in tree.items():
        known = before.full.get(section, BAD)
        if content is known:
            kept[section] = getattr(before.document, section)
        elif section in NAMED and isinstance(content, dict) and isinstance(known, dict):
            names, read = cast("Tree", content), getattr(before.document, section)
            kept[section] = _read_names(section, names, cast("Tree", known), read, convert)
        else:
            changed[section] = content
    return structs.replace(convert(changed), **kept)


def _read_names(section: str, content: Tree, known: Tree, read: Mapping[str, Any], convert: Convert) -> dict[str, Any]:
    """A section of names, of which only those are read that changed."""
    changed = {name: part for name, part in content.items() if known.get(name, BAD) is not part}
    fresh: dict[str, Any] = getattr(convert({section: changed}), section)
    found = {**read, **fresh}
    return {name: found[name] for name in content if name not in changed or name in fresh}


def _converted(tree: Tree) -> Sections:
    """A sound tree as settings. Names are converted one by one, so that no other thread waits for all of them."""
    named = {section: content for section, content in tree.items() if section in NAMED}
    rest = {section: content for section, content in tree.items() if section not in named}
    made = {
        section: {name: _converted_part(section, name, part) for name, part in content.items()}
        for section, content in named.items()
    }
    return structs.replace(msgspec.convert(rest, Sections, dec_hook=read_secret), **made)


def _converted_part(section: str, name: str, part: Any) -> Any:
    return getattr(msgspec.convert({section: {name: part}}, Sections, dec_hook=read_secret), section)[name]


def suspects(made: Checked, before: Checked) -> Document:
    """What has to be looked at anew: all, unless the change lies within sections apart and no name went away. Of
    sections with names only what changed is left then.
    """
    now, known = made.document, before.document
    moved = {name for name in {*made.full, *before.full} if made.full.get(name) is not before.full.get(name)}
    if moved - _APART or any(not getattr(now, name).keys() >= getattr(known, name).keys() for name in moved):
        return now
    changed = {name: _changed(getattr(now, name), getattr(known, name)) for name in NAMED}
    return structs.replace(now, **changed)


def _changed(now: Mapping[str, Any], before: Mapping[str, Any]) -> dict[str, Any]:
    return {name: part for name, part in now.items() if before.get(name) is not part}


def _declared(tree: Tree) -> Iterator[str]:
    for section, content in tree.items():
        yield section
        if isinstance(content, dict) and section not in NAMED:
            yield from (f"{section}.{key}" for key in cast("Tree", content))
