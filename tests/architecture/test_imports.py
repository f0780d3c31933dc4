"""The direction of imports, as `pyproject.toml` draws it."""

from pathlib import Path

import pytest
from importlinter import cli


def test_imports_point_one_way(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(root)
    assert cli.lint_imports(config_filename="pyproject.toml", no_cache=True) == cli.EXIT_STATUS_SUCCESS
