"""What a journal asks of the disk: few verbs, so that a test can fail any of them."""

import os
from pathlib import Path
from typing import Protocol


class Disk(Protocol):
    """Every verb may raise `OSError`; `write` may write less than it was given, as write(2) may."""

    def create(self, path: Path) -> int:
        """A descriptor of a new, empty file that only its owner may read; appends only, not inherited."""
        ...

    def write(self, descriptor: int, data: bytes, /) -> int: ...

    def truncate(self, descriptor: int, size: int, /) -> None: ...

    def sync(self, descriptor: int, /) -> None:
        """Returns when the bytes of the file survive a power failure."""
        ...

    def sync_directory(self, path: Path) -> None:
        """Returns when the names in the directory survive a power failure."""
        ...

    def close(self, descriptor: int, /) -> None: ...


class SystemDisk:
    """The operating system's own calls, without a layer between."""

    write = staticmethod(os.write)
    truncate = staticmethod(os.ftruncate)
    sync = staticmethod(os.fdatasync)
    close = staticmethod(os.close)

    def create(self, path: Path) -> int:
        return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL, 0o600)

    def sync_directory(self, path: Path) -> None:
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
