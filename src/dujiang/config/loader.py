"""Reading a configuration document: all of it is checked, and it is taken whole or refused with every problem."""

import importlib.resources
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, cast

import msgspec
from msgspec import structs

from dujiang.config.contradictions import contradictions
from dujiang.config.environment import reference_problems as environment_problems
from dujiang.config.problems import InvalidDocument, Problems
from dujiang.config.references import known_names, reference_problems
from dujiang.config.settings import Document, Sections
from dujiang.config.shape import sound_part
from dujiang.config.tree import MAX_BYTES, Format, format_of, read_tree
from dujiang.config.upstreams import upstream_problems
from dujiang.core.problem import Problem
from dujiang.core.secret import read_secret
from dujiang.providers.settings import KINDS


def read_document(
    text: bytes,
    *,
    format: Format = "auto",
    known_kinds: frozenset[str] = KINDS,
    environ: Mapping[str, str] | None = None,
) -> Document:
    """The document that `text` holds, its references unexpanded.

    With `environ`, references must be resolvable and what they lead to is checked too. A document without `roles`,
    without `scenes`, without `money`, or without `providers` and `models`, gets those of the default document, which
    itself declares nothing in the operator's name.

    Raises `InvalidDocument` with all that is wrong.
    """
    tree = read_tree(text, format)
    problems = Problems()
    sections = _completed(_sections(tree, problems), tree)
    for found in (
        environment_problems(sections, environ),
        upstream_problems(sections, known_kinds, environ),
        reference_problems(sections, known_names(tree, sections)),
        contradictions(sections),
    ):
        problems.extend(found)
    problems.refuse_if_any()
    declared = frozenset[str]() if text == default_text() else _declared(tree)
    return Document(**structs.asdict(sections), declared=declared)


def load(path: Path | None, environ: Mapping[str, str], known_kinds: frozenset[str] = KINDS) -> Document:
    """The document in a file, or the default document.

    Raises `InvalidDocument` for all that is wrong, a file that cannot be read included.
    """
    if path is None:
        return read_document(default_text(), format="yaml", known_kinds=known_kinds, environ=environ)
    return read_document(_read(path), format=format_of(path), known_kinds=known_kinds, environ=environ)


@cache
def default_text() -> bytes:
    """The document that is part of the package: what runs without one."""
    return importlib.resources.files("dujiang").joinpath("default.yaml").read_bytes()


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(MAX_BYTES + 1)
    except OSError as error:
        raise InvalidDocument((Problem("", f"`{path}` cannot be read: {error.strerror}"),)) from error


@cache
def _default_sections() -> Sections:
    return _sections(read_tree(default_text(), "yaml"), Problems())


def _sections(tree: dict[str, Any], problems: Problems) -> Sections:
    return msgspec.convert(sound_part(tree, Sections, problems), Sections, dec_hook=read_secret)


def _completed(sections: Sections, tree: dict[str, Any]) -> Sections:
    """`sections` with the default document's in place of those that a document needs and leaves out."""
    absent = [name for name in ("roles", "scenes", "money") if name not in tree]
    if "providers" not in tree and "models" not in tree:
        absent += ["providers", "models"]
    if not absent:
        return sections
    default = _default_sections()
    return structs.replace(sections, **{name: getattr(default, name) for name in absent})


def _declared(tree: dict[str, Any]) -> frozenset[str]:
    below = {
        f"{section}.{key}"
        for section, content in tree.items()
        if isinstance(content, dict)
        for key in cast("dict[str, Any]", content)
    }
    return frozenset(tree) | below
