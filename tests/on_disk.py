"""What lies in a directory that a server is writing to."""

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path


def stored(directory: Path) -> Iterator[tuple[Path, bytes]]:
    """Every file under `directory` with its bytes, but what goes meanwhile, as a database's journal does."""
    for path in directory.rglob("*"):
        with suppress(FileNotFoundError):
            if path.is_file():
                yield path, path.read_bytes()
