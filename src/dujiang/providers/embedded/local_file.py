"""A model file that the operator already has: copied, since the original may change or go away."""

from pathlib import Path

from dujiang.providers.embedded.source import Received, SourceFailed

_COPY_BYTES = 4 << 20


class LocalFile:
    """A source: a file on this machine."""

    scratch_bytes = 0

    def __init__(self, path: Path) -> None:
        self.path = path
        self.label = str(path)

    def fetch(self, part: Path, size: int, received: Received) -> None:
        try:
            self._copy(part, size, received)
        except OSError as error:
            raise SourceFailed(error.strerror or str(error)) from error

    def _copy(self, part: Path, size: int, received: Received) -> None:
        actual = self.path.stat().st_size
        if actual != size:
            raise SourceFailed(f"it has {actual:,} bytes, the official file has {size:,}")
        with self.path.open("rb") as source, part.open("wb") as target:
            while chunk := source.read(_COPY_BYTES):
                target.write(chunk)
                received(target.tell())
