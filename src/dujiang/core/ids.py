"""Identifiers: UUIDv7 (RFC 9562 §5.7), so that an id sorts by time and tells its day."""

import os
import time

_POOL_BYTES = 4096
_pool = b""
_used = 0


def new_id() -> str:
    """A UUIDv7 as 36 characters: 48 bits of Unix milliseconds, then 74 random bits from the operating system.

    Random bytes are drawn in blocks: one system call per 409 ids.
    """
    global _pool, _used
    if _used + 10 > len(_pool):
        _pool = os.urandom(_POOL_BYTES)
        _used = 0
    tail = _pool[_used : _used + 10].hex()
    _used += 10
    ms = f"{time.time_ns() // 1_000_000:012x}"
    variant = "89ab"[int(tail[3], 16) & 3]
    return f"{ms[:8]}-{ms[8:]}-7{tail[:3]}-{variant}{tail[4:7]}-{tail[7:19]}"
