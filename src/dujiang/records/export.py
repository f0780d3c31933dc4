"""Records as files, a page at a time: lines of JSON, or CSV for spreadsheets."""

import csv
import io
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import msgspec

from dujiang.records.items import Item, Items

_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")
"""What makes a spreadsheet compute a text (OWASP, "CSV Injection"), also in the full width of Chinese keyboards."""

_NESTED = {
    "usage": (
        "prompt_tokens",
        "completion_tokens",
        "total_tokens",
        "cached_tokens",
        "reasoning_tokens",
        "source",
    ),
    "cost": ("amount", "currency"),
}

_COLUMNS = (
    *("id", "request_id", "started_at", "app", "key_id", "user_id", "user_role", "endpoint", "scene", "scene_version"),
    *("model_requested", "model", "provider", "target", "stream", "status", "http_status", "error_type"),
    *("finish_reason", "usage", "cost", "cached", "attempts", "first_token_ms", "total_ms", "overhead_ms", "queue_ms"),
    *("config_revision", "routing"),
)


def ndjson(pages: Iterable[Items]) -> Iterator[bytes]:
    """One JSON object per line."""
    for page in pages:
        yield b"".join(msgspec.json.encode(item) + b"\n" for item in page)


def comma_separated(pages: Iterable[Items]) -> Iterator[bytes]:
    """RFC 4180 with a heading, in UTF-8. No cell is a formula: a text that begins like one gets a `'` before it."""
    yield _lines([_heading()])
    for page in pages:
        yield _lines([_cells(item) for item in page])


FORMATS: dict[str, tuple[str, Callable[[Iterable[Items]], Iterator[bytes]]]] = {
    "ndjson": ("application/x-ndjson", ndjson),
    "csv": ("text/csv; charset=utf-8", comma_separated),
}
"""Each format: its media type, and what writes it."""


def _heading() -> list[str]:
    return [f"{name}_{part}" if part else name for name in _COLUMNS for part in _NESTED.get(name, ("",))]


def _cells(item: Item) -> list[Any]:
    cells: list[Any] = []
    for name in _COLUMNS:
        value = item[name]
        parts = _NESTED.get(name)
        cells += [value] if parts is None else [value and value[part] for part in parts]
    return [_harmless(cell) for cell in cells]


def _harmless(cell: Any) -> Any:
    if isinstance(cell, bool):
        return "true" if cell else "false"
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(_FORMULA_STARTS) else cell


def _lines(rows: list[list[Any]]) -> bytes:
    text = io.StringIO()
    csv.writer(text).writerows(rows)
    return text.getvalue().encode()
