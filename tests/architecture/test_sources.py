"""Rules for the product's sources that no linter has: who may print, and where a log line would cost every call."""

import ast
from collections.abc import Iterator

TERMINAL = ("src/dujiang/cli/", "benchmarks/")
# One formatted log line costs 16 µs, a quarter of a call: these modules work for every call and never log.
HOT = (
    "src/dujiang/chat/",
    "src/dujiang/core/",
    "src/dujiang/api/request.py",
    "src/dujiang/api/wire/",
    "src/dujiang/identity/stage.py",
    "src/dujiang/providers/http.py",
    "src/dujiang/providers/openai_compatible.py",
    "src/dujiang/providers/openai_wire.py",
    "src/dujiang/providers/sse.py",
    "src/dujiang/resilience/",
    "src/dujiang/routing/stage.py",
    "src/dujiang/scenes/stage.py",
    "src/dujiang/telemetry/stage.py",
)


def test_only_the_shell_prints(sources: dict[str, ast.Module]) -> None:
    printing = {
        f"{path}:{node.lineno}"
        for path, tree in sources.items()
        if not path.startswith(TERMINAL)
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print"
    }
    assert not printing


def test_the_hot_path_does_not_log(sources: dict[str, ast.Module]) -> None:
    logging = {path for path, tree in sources.items() if path.startswith(HOT) and "logging" in _imports(tree)}
    assert not logging


def test_the_hot_path_is_where_this_page_says(sources: dict[str, ast.Module]) -> None:
    assert [place for place in HOT if not any(path.startswith(place) for path in sources)] == []


def test_no_module_asserts_at_run_time(sources: dict[str, ast.Module]) -> None:
    """`python -O` removes an assert: a check that must hold is an exception."""
    asserting = {
        f"{path}:{node.lineno}"
        for path, tree in sources.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Assert)
    }
    assert not asserting


def test_no_name_says_nothing(sources: dict[str, ast.Module]) -> None:
    """Folders and files are named by what they hold, not by that they hold something."""
    empty_names = {"utils", "util", "helpers", "helper", "common", "misc", "manager", "managers", "base"}
    found = {path for path in sources if empty_names & set(path.removesuffix(".py").split("/"))}
    assert not found


def _imports(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or ""
