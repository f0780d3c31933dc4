"""The direction of imports, as `pyproject.toml` draws it."""

import subprocess
import sys
from pathlib import Path


def test_imports_point_one_way(root: Path) -> None:
    """In a process of its own: the linter silences every logger of the one it runs in."""
    check = "from importlinter import cli; raise SystemExit(cli.lint_imports(no_cache=True))"
    run = subprocess.run([sys.executable, "-c", check], cwd=root, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout
