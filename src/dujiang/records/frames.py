"""The bytes of a journal's segment: one header, then frames; and the reader that never mistakes damage for a record.

header   magic 8 | journal format u16 | record format u16 | CRC-32 of these 12 bytes u32
frame    length u32 | CRC-32 of the payload, seeded with its length, u32 | payload

All numbers are little-endian. A length is never 0, so that zeros are not a frame. The seed makes the checksum cover the
length too. Nothing behind damage is trusted: a caller's text may contain bytes that look like a frame.
"""

import os
from collections.abc import Iterator
from struct import Struct
from zlib import crc32

from dujiang.records.record import FORMAT as RECORD_FORMAT

JOURNAL_FORMAT = 1
PAYLOAD_LIMIT_BYTES = 64 * 1024 * 1024
HEADER_BYTES = 16

_MAGIC = b"dujiang\n"
_HEADER = Struct("<8sHH")
_CHECKSUM = Struct("<I")
_FRAME = Struct("<II")
_FRAME_BYTES = _FRAME.size
_CHUNK_BYTES = 256 * 1024

_pack = _FRAME.pack


class Unreadable(Exception):
    """There is no whole frame at `offset`; every frame before it was intact and has been given out."""

    def __init__(self, offset: int, what: str) -> None:
        super().__init__(f"{what} at byte {offset}")
        self.offset = offset


class TornTail(Unreadable):
    """The last frame is incomplete: its writer is writing it, or died doing so and acknowledged nothing."""

    def __init__(self, offset: int) -> None:
        super().__init__(offset, "incomplete last frame")


class Damaged(Unreadable):
    """Bytes changed after they were written: what follows cannot be told from noise."""

    def __init__(self, offset: int) -> None:
        super().__init__(offset, "damaged frame")


class NewerFormat(Exception):
    """Written by a later release; nothing of it was read, nothing may be removed."""


def header() -> bytes:
    """The first bytes of a segment."""
    fields = _HEADER.pack(_MAGIC, JOURNAL_FORMAT, RECORD_FORMAT)
    return fields + _CHECKSUM.pack(crc32(fields))


def frame(payload: bytes) -> bytes:
    """The payload as it stands in a segment."""
    length = len(payload)
    return _pack(length, crc32(payload, length)) + payload


def check_header(descriptor: int) -> None:
    """Raises `TornTail` (incomplete), `Damaged`, or `NewerFormat`."""
    found = os.pread(descriptor, HEADER_BYTES, 0)
    if len(found) < HEADER_BYTES:
        raise TornTail(0)
    magic, journal_format, record_format = _HEADER.unpack_from(found)
    if magic != _MAGIC or _CHECKSUM.unpack_from(found, _HEADER.size)[0] != crc32(found[: _HEADER.size]):
        raise Damaged(0)
    if journal_format > JOURNAL_FORMAT or record_format > RECORD_FORMAT:
        raise NewerFormat(
            f"written in journal format {journal_format} with record format {record_format}; this release reads up to "
            f"{JOURNAL_FORMAT} and {RECORD_FORMAT}: start the release that wrote it, or a later one"
        )


def read_frames(descriptor: int, offset: int) -> Iterator[tuple[bytes, int]]:
    """Each payload with the offset of what follows it, from `offset` to the end of what is there now.

    Raises `TornTail` or `Damaged` after the last intact frame.
    """
    at = max(offset, HEADER_BYTES)
    wanted = _CHUNK_BYTES
    while chunk := os.pread(descriptor, wanted, at):
        used, needed = 0, _FRAME_BYTES
        while len(chunk) - used >= _FRAME_BYTES:
            length, checksum = _FRAME.unpack_from(chunk, used)
            needed = _FRAME_BYTES + length
            if not 0 < length <= PAYLOAD_LIMIT_BYTES:
                raise _unreadable(descriptor, at + used, needed)
            if used + needed > len(chunk):
                break
            payload = chunk[used + _FRAME_BYTES : used + needed]
            if crc32(payload, length) != checksum:
                raise _unreadable(descriptor, at + used, needed)
            used += needed
            yield payload, at + used
        at += used
        if used == 0 and wanted >= needed:
            raise TornTail(at)
        wanted = max(_CHUNK_BYTES, needed)


def _unreadable(descriptor: int, at: int, needed: int) -> Unreadable:
    """A frame that ends the file, or zeros up to its end, are what a crash leaves; all else was changed."""
    size = os.fstat(descriptor).st_size
    if at + needed == size or _is_zero(descriptor, at, size):
        return TornTail(at)
    return Damaged(at)


def _is_zero(descriptor: int, at: int, size: int) -> bool:
    while at < size:
        chunk = os.pread(descriptor, _CHUNK_BYTES, at)
        if chunk.strip(b"\0"):
            return False
        at += len(chunk) or size
    return True
