"""A document as entries: what a revision is a list of. Each is stored once by its content, whatever revisions hold it.

One entry is a model, a provider, a scene without its versions, one version of a scene, or a section that has no names.
A section of names has an entry of its own too, empty, which says that the document has that section.
"""

from collections.abc import Iterator, Mapping
from hashlib import sha256
from typing import Any

import msgspec
from msgspec import Struct

Tree = dict[str, Any]
Key = tuple[str, str]
"""The section, and the name in it: empty for the section itself, `NAME@N` for a version of a scene."""

NAMED = ("providers", "models", "aliases", "routes", "scenes", "apps", "roles")
"""The sections whose every name is an entry."""

_SCENES = "scenes"
_VERSIONS = "versions"
_NOTHING: Tree = {}

_canonical = msgspec.json.Encoder(order="sorted").encode
_to_json = msgspec.json.Encoder().encode


class Entry(Struct, frozen=True):
    """A part of a document as JSON, in its author's order of keys. Two with one `digest` mean the same."""

    text: bytes
    digest: bytes


def entry_of(part: Any) -> Entry:
    return Entry(_to_json(part), sha256(_canonical(part)).digest())


def split(tree: Mapping[str, Any]) -> Iterator[tuple[Key, Any]]:
    """The parts of a sound document by key, in its order."""
    for section, content in tree.items():
        if section not in NAMED:
            yield (section, ""), content
            continue
        yield (section, ""), _NOTHING
        for name, part in content.items():
            yield from parts_of(section, name, part)


def parts_of(section: str, name: str, part: Any) -> Iterator[tuple[Key, Any]]:
    """The entries of one name of a section."""
    if section != _SCENES:
        yield (section, name), part
        return
    yield (section, name), {key: value for key, value in part.items() if key != _VERSIONS}
    for version in part.get(_VERSIONS, ()):
        yield (section, f"{name}@{version['version']}"), version


def whole(key: Key) -> Key:
    """The key of a scene for those of its versions; any other key itself."""
    section, name = key
    return (section, name.partition("@")[0]) if section == _SCENES else key


def join(parts: Mapping[Key, Any]) -> Tree:
    """The document that `split` took apart."""
    tree: Tree = {}
    for (section, name), part in parts.items():
        if section not in NAMED:
            tree[section] = part
        elif not name:
            tree.setdefault(section, {})
        else:
            _put(tree.setdefault(section, {}), section, name, part)
    return tree


def _put(content: Tree, section: str, name: str, part: Any) -> None:
    scene, _, version = name.partition("@")
    if section != _SCENES:
        content[name] = part
    elif version:
        content.setdefault(scene, {}).setdefault(_VERSIONS, []).append(part)
    else:
        content[scene] = {**part, **content.get(scene, {})}
