"""No committed file names the place where it was written: no folder of a machine, no package index."""

import re
from pathlib import Path

# Written so that this file does not find itself.
MACHINE_PATHS = re.compile(r"(?<![\w.$}~-])/(?:home|root|work|tmp|Users)/\w")
REGISTRIES = re.compile("|".join(name + r"\." + rest for name, rest in [
    (r"\bpypi", "org"),
    (r"\bpythonhosted", "org"),
    (r"\bregistry", r"npmjs\.org"),
    (r"\bnpmmirror", "com"),
    (r"\bproxy", r"golang\.org"),
    (r"\bcrates", "io"),
    (r"\bdeb", r"debian\.org"),
    (r"\bpypi\.tuna", "tsinghua"),
    (r"\bmirrors", r"aliyun\.com"),
]))  # fmt: skip
SECRETS = re.compile(r"\bsk-[A-Za-z0-9]{32,}\b|-----BEGIN [A-Z ]*PRIVATE KEY-----|\bbce-v3/ALTAK-\w{20,}")


def test_no_path_of_a_machine(committed_files: list[Path], root: Path) -> None:
    assert _matches(MACHINE_PATHS, committed_files, root) == []


def test_no_package_index(committed_files: list[Path], root: Path) -> None:
    assert _matches(REGISTRIES, committed_files, root) == []


def test_no_secret(committed_files: list[Path], root: Path) -> None:
    assert _matches(SECRETS, committed_files, root) == []


def test_every_file_ends_with_a_line(committed_files: list[Path], root: Path) -> None:
    ragged = [file.relative_to(root).as_posix() for file in committed_files if _text(file) and _text(file)[-1] != "\n"]
    assert ragged == []


def _matches(pattern: re.Pattern[str], files: list[Path], root: Path) -> list[str]:
    return [
        f"{file.relative_to(root)}:{number}: {match.group()}"
        for file in files
        for number, line in enumerate(_text(file).splitlines(), 1)
        for match in pattern.finditer(line)
    ]


def _text(file: Path) -> str:
    try:
        return file.read_text()
    except UnicodeDecodeError:
        return ""
