"""Reads one large document in a process of its own: `python -m dujiang.config.reader`.

Standard input has a line of JSON (`Task`), then the document's bytes. Standard output gets the tree, a line of JSON for
each piece, and last a `Verdict`. Nothing is written about a document with problems but these.
"""

import gc
import signal
import sys
from collections.abc import Iterator, Mapping
from os import environ
from typing import Literal

import msgspec
from msgspec import Struct

from dujiang.config.checked import check_tree
from dujiang.config.entries import Tree
from dujiang.config.loader import rules
from dujiang.config.pieces import Piece, pieces
from dujiang.config.problems import InvalidDocument
from dujiang.config.tree import Format, read_tree
from dujiang.config.unmask import Place, restored
from dujiang.core.problem import Problem, at

MAX_PIECE_BYTES = 1024 * 1024
ALARM_S = 60
"""When a reader ends by itself whose parent is no more there to do it."""


class Task(Struct, frozen=True):
    """What to do with the bytes: `read` makes a tree of them, `check` finds it sound as a document too.

    `secrets` are those of the document at work, which `***` in the same place stands for.
    """

    kind: Literal["read", "check"]
    format: Format
    secrets: tuple[tuple[Place, str], ...] = ()


class Verdict(Struct, frozen=True):
    """The last line: everything that is wrong; with nothing, the pieces before it are the whole tree."""

    problems: tuple[Problem, ...] = ()


def main() -> None:
    gc.disable()  # what this process makes it needs until its end
    signal.alarm(ALARM_S)
    given, answer = sys.stdin.buffer, sys.stdout.buffer
    task = msgspec.json.decode(given.readline(), type=Task)
    try:
        tree = read_tree(given.read(), task.format)
        if task.kind == "check":
            tree = checked(tree, dict(task.secrets), environ)
        lines = list(lines_of(tree))
    except InvalidDocument as invalid:
        answer.write(msgspec.json.encode(Verdict(invalid.problems)) + b"\n")
        return
    answer.writelines(lines)
    answer.write(msgspec.json.encode(Verdict()) + b"\n")


def checked(tree: Tree, secrets: Mapping[Place, str], environ: Mapping[str, str]) -> Tree:
    """The tree with its secrets, found sound. Raises `InvalidDocument`."""
    return check_tree(restored(tree, secrets), rules(environ=environ)).tree


def lines_of(tree: Tree) -> Iterator[bytes]:
    """Raises `InvalidDocument` for a piece that would be too large to be read at once."""
    for piece in pieces(tree):
        line = msgspec.json.encode(piece)
        if len(line) > MAX_PIECE_BYTES:
            raise InvalidDocument((Problem(_path_of(piece), f"is larger than {MAX_PIECE_BYTES} bytes"),))
        yield line + b"\n"


def _path_of(piece: Piece) -> str:
    section, name, _ = piece
    path = at("", section)
    return path if name is None else at(path, name)


if __name__ == "__main__":
    main()
