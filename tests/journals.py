"""What tests of the journal share: records, a sink that remembers, and a disk that fails when it is told to."""

import errno
import os
from collections.abc import Callable, Sequence
from pathlib import Path

from dujiang.core.ids import new_id
from dujiang.records.disk import SystemDisk
from dujiang.records.frames import Unreadable, check_header, read_frames
from dujiang.records.record import Record
from dujiang.records.segments import segments


def a_record(request_id: str = "r", **fields) -> Record:
    given = {"id": new_id(), "started_at_ms": 1_790_000_000_000, "app": "shop", "key_id": "k", "endpoint": "chat"}
    return Record(**{**given, "request_id": request_id, "status": "ok", "http_status": 200, **fields})


def read(path: Path, offset: int = 0) -> tuple[list[bytes], Unreadable | None]:
    """Every payload of a segment, and what stopped the reader."""
    payloads: list[bytes] = []
    with path.open("rb") as file:
        try:
            check_header(file.fileno())
            payloads.extend(payload for payload, _ in read_frames(file.fileno(), offset))
        except Unreadable as rest:
            return payloads, rest
    return payloads, None


def read_all(directory: Path) -> list[bytes]:
    return [payload for segment in segments(directory) for payload in read(segment)[0]]


class MemorySink:
    """Keeps records by id; `failure` is asked before each batch and may return what to raise."""

    def __init__(self, failure: Callable[[Sequence[Record]], Exception | None] = lambda _: None) -> None:
        self.kept: dict[str, Record] = {}
        self.batches: list[int] = []
        self.failure = failure

    def insert(self, batch: Sequence[Record]) -> int:
        if (error := self.failure(batch)) is not None:
            raise error
        before = len(self.kept)
        self.kept.update((record.id, record) for record in batch)
        self.batches.append(len(batch))
        return len(self.kept) - before


class FailingDisk(SystemDisk):
    """Real files. `fails(verb, n)` is how the n-th operation fails: 0 not at all, an errno, or a write short by -x."""

    def __init__(self, fails: Callable[[str, int], int]) -> None:
        self.fails = fails
        self.done = 0

    def create(self, path: Path) -> int:
        self._try("create")
        return super().create(path)

    def write(self, descriptor: int, data: bytes) -> int:
        outcome = self._count("write")
        if outcome > 0:
            raise OSError(outcome, os.strerror(outcome))
        return os.write(descriptor, data[:-outcome] if outcome else data)

    def truncate(self, descriptor: int, size: int) -> None:
        self._try("truncate")
        os.ftruncate(descriptor, size)

    def sync(self, descriptor: int) -> None:
        self._try("sync")
        os.fdatasync(descriptor)

    def _try(self, verb: str) -> None:
        outcome = self._count(verb)
        if outcome > 0:
            raise OSError(outcome, os.strerror(outcome))

    def _count(self, verb: str) -> int:
        self.done += 1
        return self.fails(verb, self.done)


def full_from(n: int) -> Callable[[str, int], int]:
    """Every write from the n-th operation on finds the disk full."""
    return lambda verb, done: errno.ENOSPC if verb == "write" and done >= n else 0
