"""What a source of a model file is: something that completes a partial file."""

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

Received = Callable[[int], None]
"""Called with how many bytes of the official file are there by now."""


class SourceFailed(Exception):
    """A source could not complete the file. The message is one short reason, without secrets."""


class Source(Protocol):
    """`label` is what an operator sees; `scratch_bytes` is the room it needs beside the file itself."""

    @property
    def label(self) -> str: ...

    @property
    def scratch_bytes(self) -> int: ...

    def fetch(self, part: Path, size: int, received: Received) -> None:
        """Bring `part` to `size` bytes, going on from what it already holds. Raises `SourceFailed`.

        Whatever was received before a failure stays in `part` for the next try. The bytes are not judged here.
        """
        ...


def held_bytes(part: Path) -> int:
    """How many bytes a partial file holds; 0 where there is none."""
    return part.stat().st_size if part.exists() else 0
