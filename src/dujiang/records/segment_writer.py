"""A segment that is being written: whole frames, one after the other, whatever the disk does in between."""

import errno
from contextlib import suppress
from pathlib import Path

from dujiang.records.disk import Disk
from dujiang.records.frames import HEADER_BYTES, header
from dujiang.records.segments import draft_path, lock

_PROBE = bytes(64 * 1024)
"""Zeros are no frame: a writer that dies while they are there leaves a torn tail of them."""


class SegmentWriter:
    """A new segment, locked while it is open. `size` counts its header and its whole frames, in bytes.

    After an `OSError` from any method it takes nothing more: close it, and go on in another.
    """

    def __init__(self, disk: Disk, path: Path, *, is_durable: bool, is_probed: bool = False) -> None:
        """Raises `OSError`, and leaves no file then. `is_probed` finds out whether more than the header has room.

        The file gets its name when it is locked: a segment without a lock would be taken for a dead writer's.
        """
        self._disk = disk
        self._path = draft_path(path)
        self._is_durable = is_durable
        self._write = disk.write
        self.size = 0
        self.descriptor = disk.create(self._path)
        try:
            lock(self.descriptor)
            self.append(header())
            if is_probed:
                self._probe()
            self._path = self._path.rename(path)
            if is_durable:
                disk.sync_directory(path.parent)
        except OSError:
            self.size = 0
            self.close()
            raise

    def append(self, frame: bytes) -> None:
        """Returns when the whole frame is written (`is_durable`: and on the disk).

        Raises `OSError`; then no part of it can be taken for a record. One exception: where `is_durable` and the disk
        took the frame but failed to sync, it may be read nevertheless.
        """
        written = self._write(self.descriptor, frame)
        if written != len(frame):
            self._finish(frame, written)
        self.size += len(frame)
        if self._is_durable:
            self._disk.sync(self.descriptor)

    def close(self) -> None:
        """Give up the lock: the segment is complete. One that never got a frame is removed."""
        if self.size <= HEADER_BYTES:
            with suppress(OSError):
                self._path.unlink()
        with suppress(OSError):
            self._disk.close(self.descriptor)

    def _finish(self, frame: bytes, written: int) -> None:
        try:
            while written < len(frame):
                more = self._write(self.descriptor, frame[written:])
                if more == 0:
                    raise OSError(errno.EIO, "the disk takes nothing and names no reason")
                written += more
        except OSError:
            self._cut_back()
            raise

    def _probe(self) -> None:
        self._finish(_PROBE, 0)
        self._disk.truncate(self.descriptor, self.size)

    def _cut_back(self) -> None:
        """Where even this fails, the segment ends in an incomplete frame, which readers expect of a segment's end."""
        with suppress(OSError):
            self._disk.truncate(self.descriptor, self.size)
