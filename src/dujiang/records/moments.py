"""The time inside a record's id: a UUIDv7 begins with 48 bits of Unix milliseconds (RFC 9562 §5.7)."""

from datetime import UTC, date, datetime

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
LAST_MS = 253_402_300_799_999
"""The end of the year 9999: later times have no date."""

_EPOCH = date(1970, 1, 1).toordinal()


def id_bytes(id: str) -> bytes:
    """The 16 bytes of a UUIDv7 in its 36 lower-case characters. Raises `ValueError` for anything else."""
    raw = bytes.fromhex(id.replace("-", ""))
    if len(raw) != 16 or raw[6] >> 4 != 7 or id_text(raw) != id or id_ms(raw) > LAST_MS:
        raise ValueError("this is no UUIDv7")
    return raw


def id_text(raw: bytes) -> str:
    text = raw.hex()
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def id_ms(raw: bytes) -> int:
    """When the id was made, in Unix milliseconds."""
    return int.from_bytes(raw[:6])


def first_id(ms: int) -> bytes:
    """Below every id made at `ms` or later, above every earlier one."""
    return ms.to_bytes(6) + bytes(10)


def day_of(ms: int) -> date:
    """The UTC day of a moment."""
    return date.fromordinal(_EPOCH + ms // DAY_MS)


def start_of(day: date) -> int:
    """The first millisecond of a UTC day."""
    return (day.toordinal() - _EPOCH) * DAY_MS


def iso(ms: int) -> str:
    """ISO 8601 in UTC: `2026-03-04T05:06:07.089Z`."""
    return datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
