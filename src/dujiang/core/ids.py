"""Identifiers: UUIDv7 (RFC 9562 §5.7), so that an id sorts by time and tells its day."""

import os
import time

_BLOCK = 4096
_block = b""
_used = _BLOCK


def new_id() -> str:
    """A UUIDv7 as 36 characters: 48 bits of Unix milliseconds, then 74 random bits from the operating system.

    Random bytes are drawn in blocks: one system call for 409 ids.
    """
    global _block, _used
    if _used + 10 > _BLOCK:
        _block = os.urandom(_BLOCK)
        _used = 0
    random = int.from_bytes(_block[_used : _used + 10]) >> 6
    _used += 10
    ms = time.time_ns() // 1_000_000
    text = "%032x" % (ms << 80 | 7 << 76 | random >> 62 << 64 | 2 << 62 | random & 0x3FFF_FFFF_FFFF_FFFF)
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def first_id(ms: int) -> str:
    """Below every id made at `ms` (Unix milliseconds) or later, above every earlier one."""
    text = f"{ms:012x}"
    return f"{text[:8]}-{text[8:]}-0000-0000-000000000000"
