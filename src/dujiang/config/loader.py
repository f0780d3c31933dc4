"""Reading a configuration document: all of it is checked, and it is taken whole or refused with every problem."""

import importlib.resources
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from dujiang.config.checked import Rules, check_tree
from dujiang.config.entries import Tree
from dujiang.config.problems import InvalidDocument
from dujiang.config.settings import Document
from dujiang.config.tree import MAX_BYTES, Format, format_of, read_tree
from dujiang.core.problem import Problem
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
    return check_tree(read_tree(text, format), rules(known_kinds, environ)).document


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
def default_tree() -> Tree:
    return read_tree(default_text(), "yaml")


def rules(known_kinds: frozenset[str] = KINDS, environ: Mapping[str, str] | None = None) -> Rules:
    """What every document is checked against in an environment."""
    return Rules(known_kinds, environ, default_tree())
