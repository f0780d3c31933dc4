"""HTTP/1.1 and SSE framing, and ways of cutting bytes into writes. Everything here is pure."""

import math
import re
from collections.abc import Callable, Iterable, Iterator
from enum import Enum
from http import HTTPStatus

CHUNKED = b"Transfer-Encoding: chunked\r\n"
CLOSE = b"Connection: close\r\n"
LAST_CHUNK = b"0\r\n\r\n"
FOREVER = math.inf

_LONGEST_WRITE = 65_536
_STATUS_LINES = {status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode() for status in HTTPStatus}
_WITHIN_CHARACTER = re.compile(rb"(?<=[\xc0-\xff])(?=[\x80-\xbf])")


class Signal(Enum):
    """What to do with a connection besides writing and waiting. All but `OPEN_STREAM` end the call."""

    OPEN_STREAM = "count the stream as open"
    CLOSE = "close once all is written"
    RESET = "drop the connection with RST"
    HALF_CLOSE = "send FIN, go on listening"


Step = bytes | float | Signal
"""A step of an answer: bytes to write, seconds to wait, or a signal."""


def head(status: int, content_type: bytes, lines: bytes) -> bytes:
    """A response head. `lines` are complete header lines, the one of the body's length or transfer among them."""
    start = _STATUS_LINES.get(status) or b"HTTP/1.1 %d Emulated\r\n" % status
    return b"%bContent-Type: %b\r\n%b\r\n" % (start, content_type, lines)


def length(body: bytes) -> bytes:
    """The header line that tells the length of a body."""
    return b"Content-Length: %d\r\n" % len(body)


def event(payload: bytes, space: bytes, line_end: bytes) -> bytes:
    """A server-sent event of one data line."""
    return b"data:%b%b%b%b" % (space, payload, line_end, line_end)


def chunk(data: bytes) -> bytes:
    """A piece of a chunked body."""
    return b"%x\r\n%b\r\n" % (len(data), data)


def chunked(steps: Iterable[Step]) -> Iterator[Step]:
    """Each write as a piece of a chunked body; the last chunk is the caller's to add."""
    for step in steps:
        yield chunk(step) if isinstance(step, bytes) else step


def joined(steps: Iterable[Step]) -> Iterator[Step]:
    """Writes that follow each other without a wait as one."""
    parts: list[bytes] = []
    size = 0
    for step in steps:
        if isinstance(step, bytes):
            parts.append(step)
            size += len(step)
            if size < _LONGEST_WRITE:
                continue
        if parts:
            yield b"".join(parts)
            parts, size = [], 0
        if not isinstance(step, bytes):
            yield step
    if parts:
        yield b"".join(parts)


def split_within_characters(steps: Iterable[Step]) -> Iterator[Step]:
    """Cut each write inside every character of several bytes, and let each piece leave by itself."""
    return _apart(steps, _WITHIN_CHARACTER.split, 0.0)


def drip(steps: Iterable[Step], interval_s: float) -> Iterator[Step]:
    """Write one byte at a time."""
    return _apart(steps, lambda text: [bytes((byte,)) for byte in text], interval_s)


def line_by_line(text: bytes, interval_s: float) -> Iterator[Step]:
    """Write a head one line at a time."""
    return _apart((text,), lambda lines: lines.splitlines(keepends=True), interval_s)


def _apart(steps: Iterable[Step], cut: Callable[[bytes], list[bytes]], interval_s: float) -> Iterator[Step]:
    """Cut writes into pieces with a wait between any two: none after the last, for then the answer is complete."""
    is_first = True
    for step in steps:
        if not isinstance(step, bytes):
            yield step
            continue
        for piece in cut(step):
            if not is_first:
                yield interval_s
            is_first = False
            yield piece
