"""The project's own files, as the tests of this folder look at them."""

import ast
import os
from pathlib import Path

import pytest

_ROOT = Path(__file__).parents[2]
_NOT_OURS = {
    ".git",
    ".hypothesis",
    ".import_linter_cache",
    ".pytest_cache",
    ".ruff_cache",
    ".venv",
    "__pycache__",
    "data",
    "dist",
    "node_modules",
    "site",
}


@pytest.fixture(scope="session")
def root() -> Path:
    return _ROOT


@pytest.fixture(scope="session")
def committed_files() -> list[Path]:
    """Every file of the checkout that is not built, fetched or cached: what a commit would hold."""
    found: list[Path] = []
    for folder, folders, files in os.walk(_ROOT):
        folders[:] = sorted(set(folders) - _NOT_OURS)
        found.extend(Path(folder, name) for name in sorted(set(files) - _NOT_OURS))  # `.git` of a worktree is a file
    return found


@pytest.fixture(scope="session")
def sources() -> dict[str, ast.Module]:
    """The parsed modules of the product and its benchmarks, by path below the root."""
    files = [file for folder in ("src", "benchmarks") for file in sorted((_ROOT / folder).rglob("*.py"))]
    return {file.relative_to(_ROOT).as_posix(): ast.parse(file.read_text()) for file in files}
