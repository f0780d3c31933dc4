"""Dependencies: each justified, each locked by hash, none running code when the interpreter starts."""

import re
import site
import sysconfig
import tomllib
from pathlib import Path

import pytest

LOCKS = ("bootstrap", "runtime", "dev")
# A .pth file can run code at every start of Python: that is how stolen releases stayed alive.
START_UP_FILES = {
    "_editable_impl_dujiang.pth",  # this checkout, one path
    "distutils-precedence.pth",  # setuptools, which venv brings along before Python 3.12
}


@pytest.fixture(scope="module")
def declared(root: Path) -> dict[str, list[str]]:
    """The names that `pyproject.toml` declares: at run time and by group."""
    project = tomllib.loads((root / "pyproject.toml").read_text())
    groups = {"runtime": project["project"]["dependencies"], **project["dependency-groups"]}
    return {group: sorted(_name(line) for line in lines) for group, lines in groups.items()}


@pytest.fixture(scope="module")
def locks(root: Path) -> dict[str, str]:
    return {name: (root / "requirements" / f"{name}.txt").read_text() for name in LOCKS}


def test_every_dependency_has_its_reason(root: Path, declared: dict[str, list[str]]) -> None:
    page = (root / "docs/decisions/0001-dependencies.md").read_text().split("## Not taken")[0]
    justified = re.findall(r"^\| `([a-z0-9_-]+)` \| \S.{6,} \|$", page, re.MULTILINE)
    assert sorted(justified) == sorted(name for names in declared.values() for name in names)


@pytest.mark.parametrize("name", LOCKS)
def test_every_locked_requirement_has_hashes(locks: dict[str, str], name: str) -> None:
    for requirement in _requirements(locks[name]):
        assert re.match(r"[a-z0-9._-]+(\[[a-z0-9,._-]+\])?==\S+", requirement), requirement.splitlines()[0]
        assert "--hash=sha256:" in requirement, requirement.splitlines()[0]


@pytest.mark.parametrize("name", LOCKS)
def test_a_lock_names_no_place(locks: dict[str, str], name: str) -> None:
    assert re.findall(r"://|--(?:index|find|extra|trusted)\S*", locks[name]) == []


def test_the_locks_hold_what_is_declared(locks: dict[str, str], declared: dict[str, list[str]]) -> None:
    pinned = {name: _pins(text) for name, text in locks.items()}
    assert set(declared["bootstrap"]) <= pinned["bootstrap"].keys()
    assert {*declared["runtime"], *declared["build"]} <= pinned["runtime"].keys()
    assert set(declared["dev"]) <= pinned["dev"].keys()


def test_the_tools_do_not_change_what_runs(locks: dict[str, str]) -> None:
    runtime, dev = _pins(locks["runtime"]), _pins(locks["dev"])
    assert {name: dev.get(name) for name in runtime} == runtime


def test_nothing_runs_when_python_starts() -> None:
    folders = {
        Path(sysconfig.get_path("purelib")),
        Path(sysconfig.get_path("platlib")),
        Path(site.getusersitepackages()),
    }
    found = {file.name for folder in folders for file in folder.glob("*.pth")}
    assert found <= START_UP_FILES
    assert not [file for folder in folders for file in folder.glob("*customize.py")]


def _name(requirement: str) -> str:
    return re.split(r"[\[<>=!~; ]", requirement, maxsplit=1)[0].lower()


def _requirements(lock: str) -> list[str]:
    lines = [line for line in lock.splitlines() if not line.lstrip().startswith("#")]
    return [block for block in re.split(r"\n(?=\S)", "\n".join(lines)) if block.strip()]


def _pins(lock: str) -> dict[str, str]:
    return {_name(block): block.split()[0].split("==")[1] for block in _requirements(lock)}
