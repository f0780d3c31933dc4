"""The files of a journal's directory: segments, locked while their writer lives, and how far each is drained."""

import fcntl
import os
import time
from contextlib import suppress
from pathlib import Path
from zlib import crc32

from msgspec import DecodeError, Struct

from dujiang.records.frames import HEADER_BYTES, NewerFormat, Unreadable, check_header, read_frames
from dujiang.records.record import Record, decode

SEGMENT_SUFFIX = ".journal"
POSITION_SUFFIX = ".position"
TORN_SUFFIX = ".torn"
DAMAGED_SUFFIX = ".damaged"
DRAFT_SUFFIX = ".new"
"""Of a file that is not complete yet; it gets its name when it is."""


class Backlog(Struct, frozen=True):
    """What the directory holds. `undrained_bytes` and `oldest_s` are of what the database does not have yet.

    `oldest_s` is the time since the first of those calls ended, None when there is none; `set_aside` counts the files
    of torn or damaged bytes.
    """

    segments: int = 0
    bytes: int = 0
    undrained_bytes: int = 0
    oldest_s: float | None = None
    set_aside: int = 0


def segment_name(writer_id: str, sequence: int) -> str:
    """Names sort by the start of their writer, then by age."""
    return f"{writer_id}-{sequence:06d}{SEGMENT_SUFFIX}"


def segments(directory: Path) -> list[Path]:
    """Every segment, oldest first."""
    return sorted(directory.glob(f"*{SEGMENT_SUFFIX}"))


def bytes_on_disk(directory: Path) -> int:
    """What the segments take of the disk."""
    total = 0
    with os.scandir(directory) as entries:
        for entry in entries:
            if entry.name.endswith(SEGMENT_SUFFIX):
                with suppress(FileNotFoundError):
                    total += entry.stat().st_size
    return total


def lock(descriptor: int) -> None:
    """Mark the segment as live, until its descriptor is closed or its process ends."""
    fcntl.flock(descriptor, fcntl.LOCK_EX)


def is_live(descriptor: int) -> bool:
    """Whether another descriptor holds the lock. If not, this one has it now, and nothing will be appended."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    return False


def read_position(segment: Path) -> int:
    """How far the segment is drained; its first frame where nothing trustworthy says so."""
    try:
        text = position_path(segment).read_bytes()
    except FileNotFoundError:
        return HEADER_BYTES
    offset, _, checksum = text.partition(b" ")
    if not offset.isdigit() or checksum != _checksum(offset):
        return HEADER_BYTES
    return max(int(offset), HEADER_BYTES)


def write_position(segment: Path, offset: int) -> None:
    """Overwrite the position in one write: a reader sees the old one, this, or what it does not trust.

    To replace the file would make the file system flush it, at 1 ms each time. Raises `OSError`.
    """
    text = b"%020d" % offset
    descriptor = os.open(position_path(segment), os.O_WRONLY | os.O_CREAT, 0o600)
    try:
        os.write(descriptor, text + b" " + _checksum(text))
    finally:
        os.close(descriptor)


def position_path(segment: Path) -> Path:
    return segment.with_name(segment.name + POSITION_SUFFIX)


def draft_path(path: Path) -> Path:
    return path.with_name(path.name + DRAFT_SUFFIX)


def remove_segment(segment: Path) -> None:
    """The segment first: a position without a segment does no harm, a segment without its position is read again."""
    segment.unlink(missing_ok=True)
    position_path(segment).unlink(missing_ok=True)


def remove_orphans(directory: Path) -> None:
    """What a process left that was killed between two steps: positions without a segment, and drafts.

    Not while a drain works there. A writer that loses its draft makes another segment.
    """
    for path in directory.glob(f"*{DRAFT_SUFFIX}"):
        path.unlink(missing_ok=True)
    for path in directory.glob(f"*{POSITION_SUFFIX}"):
        if not path.with_suffix("").exists():
            path.unlink(missing_ok=True)


def backlog(directory: Path) -> Backlog:
    """Looks at every file of the directory; for health and metrics, not for calls."""
    found = segments(directory)
    total = undrained = 0
    oldest_ms: float | None = None
    for segment in found:
        with suppress(FileNotFoundError):
            size, position = segment.stat().st_size, read_position(segment)
            total += size
            undrained += max(0, size - position)
            if size > position and (ended_ms := _first_ended_ms(segment, position)) is not None:
                oldest_ms = min(ended_ms, oldest_ms or ended_ms)
    oldest_s = None if oldest_ms is None else max(0.0, time.time() - oldest_ms / 1000)
    set_aside = sum(1 for path in directory.iterdir() if path.suffix in {TORN_SUFFIX, DAMAGED_SUFFIX})
    return Backlog(len(found), total, undrained, oldest_s, set_aside)


def ended_ms(record: Record) -> float:
    """When the call ended, which is when its record was appended; Unix milliseconds."""
    return record.started_at_ms + record.total_ms


def _first_ended_ms(segment: Path, position: int) -> float | None:
    with segment.open("rb", buffering=0) as file, suppress(Unreadable, NewerFormat, DecodeError):
        check_header(file.fileno())
        for payload, _ in read_frames(file.fileno(), position):
            return ended_ms(decode(payload))
    return None


def _checksum(text: bytes) -> bytes:
    return b"%08x" % crc32(text)
