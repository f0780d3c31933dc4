"""A file has one idea, a function one verb: budgets that fail before a file is one that everything passes through."""

import ast
from collections.abc import Iterator
from pathlib import Path

FILE_LINES = 400
FUNCTION_LINES = 50
LONGER_FILES: dict[str, str] = {}  # path: why it may be longer
LONGER_FUNCTIONS: dict[str, str] = {  # path:name: why it may be longer
    "src/dujiang/records/stage.py:_row_of": "one line for each field of a record, and nothing else",
}


def test_files_keep_to_their_budget(root: Path, sources: dict[str, ast.Module]) -> None:
    lengths = {path: len((root / path).read_text().splitlines()) for path in sources}
    too_long = {path: lines for path, lines in lengths.items() if lines > FILE_LINES}
    assert too_long.keys() == LONGER_FILES.keys(), too_long


def test_functions_keep_to_their_budget(sources: dict[str, ast.Module]) -> None:
    lengths = {f"{path}:{name}": lines for path, tree in sources.items() for name, lines in _functions(tree)}
    too_long = {place: lines for place, lines in lengths.items() if lines > FUNCTION_LINES}
    assert too_long.keys() == LONGER_FUNCTIONS.keys(), too_long


def test_most_functions_are_short(sources: dict[str, ast.Module]) -> None:
    lengths = sorted(lines for tree in sources.values() for _, lines in _functions(tree))
    assert lengths[int(len(lengths) * 0.9)] <= 30


def _functions(tree: ast.Module) -> Iterator[tuple[str, int]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node.name, (node.end_lineno or node.lineno) - node.lineno + 1
