"""What may be asked of the records, parsed from query parameters; and what may be seen."""

import re
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from decimal import ROUND_CEILING, Decimal
from typing import Any, Literal, get_args

from msgspec import Struct

from dujiang.core.errors import InvalidRequest, Unprocessable
from dujiang.records.moments import DAY_MS, LAST_MS
from dujiang.records.record import Status

Sort = Literal["-started_at", "started_at", "-total_ms", "-cost"]
Cached = Literal["exact", "semantic", "replay", "joined", "true", "false"]

DEFAULT_LIMIT = 50
MAX_LIMIT = 200
NARROW_MS = DAY_MS
"""The longest range for whatever no index answers."""

MAX_TEXT = 256
MIN_PREFIX = 2
DEFAULT_CURRENCY = "CNY"

_NUMBER = re.compile(r"\d{1,12}(\.\d{1,9})?", re.ASCII)
_LOST_PLUS = re.compile(r"(T.*) (\d\d:?\d\d)$")


class Scope(Struct, frozen=True):
    """Whose records may be seen: those of one app, those made with one key. None sets no bound."""

    app: str | None = None
    key_id: str | None = None


class RecordQuery(Struct, frozen=True):
    """Filters, all of which must hold; None does not filter.

    `from_ms` is inclusive, `to_ms` is not; both are Unix milliseconds. `q` begins the request id, the user id or the
    error's text. `min_cost_micros` is in `currency`.
    """

    from_ms: int | None = None
    to_ms: int | None = None
    app: str | None = None
    user_id: str | None = None
    user_role: str | None = None
    model: str | None = None
    provider: str | None = None
    status: Status | None = None
    scene: str | None = None
    request_id: str | None = None
    cached: Cached | None = None
    currency: str | None = None
    min_cost_micros: int | None = None
    min_latency_ms: float | None = None
    q: str | None = None
    sort: Sort = "-started_at"
    limit: int = DEFAULT_LIMIT
    cursor: str | None = None


def parse_query(parameters: Iterable[tuple[str, str]], now_ms: int) -> RecordQuery:
    """The query that parameters stand for.

    Raises `Unprocessable` for a parameter that there is not, `InvalidRequest` for a value that is none, and for a
    question too wide to be answered from an index.
    """
    given = parse_parameters(parameters, PARAMETERS)
    if given.get("min_cost_micros") is not None:
        given.setdefault("currency", DEFAULT_CURRENCY)
    query = RecordQuery(**given)
    _refuse_wide(query, now_ms)
    return query


def parse_parameters(
    parameters: Iterable[tuple[str, str]], known: dict[str, tuple[str, Callable[[str, str], Any]]]
) -> dict[str, Any]:
    """Field names with parsed values.

    Raises `Unprocessable` for a parameter that there is not, `InvalidRequest` for a value that is none.
    """
    found: dict[str, Any] = {}
    for name, text in parameters:
        if name not in known:
            raise Unprocessable(f"There is no parameter `{name[:100]}`.", reason="unknown_parameter", param=name[:100])
        field, parse = known[name]
        if field in found:
            raise InvalidRequest(f"The parameter `{name}` may be given once.", param=name)
        found[field] = parse(name, text)
    return found


def parse_text(name: str, text: str) -> str:
    if not 1 <= len(text) <= MAX_TEXT:
        raise InvalidRequest(f"`{name}` must have 1 to {MAX_TEXT} characters.", param=name)
    try:
        text.encode()
    except UnicodeEncodeError:
        raise InvalidRequest(f"`{name}` must be valid Unicode.", param=name) from None
    return text


def parse_time(name: str, text: str) -> int:
    """Unix milliseconds of an ISO 8601 time, UTC where it names no zone; a date is its first moment."""
    try:
        moment = datetime.fromisoformat(_LOST_PLUS.sub(r"\1+\2", text[:64]))
        moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment
        ms = int(moment.timestamp() * 1000)
    except (ValueError, OverflowError):
        raise InvalidRequest(f"`{name}` must be a time like 2026-03-04T05:06:07Z.", param=name) from None
    if not 0 <= ms <= LAST_MS:
        raise InvalidRequest(f"`{name}` must lie between the years 1970 and 9999.", param=name)
    return ms


def one_of(choices: tuple[str, ...]) -> Callable[[str, str], str]:
    """A parser that takes these words and no other."""

    def parse(name: str, text: str) -> str:
        if text not in choices:
            raise InvalidRequest(f"`{name}` must be one of {', '.join(choices)}.", param=name)
        return text

    return parse


def _parse_prefix(name: str, text: str) -> str:
    if len(text) < MIN_PREFIX:
        raise InvalidRequest(f"`{name}` must have at least {MIN_PREFIX} characters.", param=name)
    return parse_text(name, text)


def _parse_number(name: str, text: str) -> Decimal:
    if not _NUMBER.fullmatch(text):
        raise InvalidRequest(
            f"`{name}` must be a number of at most 12 digits and 9 decimals, not negative.", param=name
        )
    return Decimal(text)


def _parse_micros(name: str, text: str) -> int:
    return int((_parse_number(name, text) * 10**6).to_integral_value(ROUND_CEILING))


def _parse_ms(name: str, text: str) -> float:
    return float(_parse_number(name, text))


def _parse_currency(name: str, text: str) -> str:
    if not re.fullmatch(r"[A-Z]{3}", text, re.ASCII):
        raise InvalidRequest(f"`{name}` must be a currency's three letters, like CNY.", param=name)
    return text


def _parse_limit(name: str, text: str) -> int:
    if not re.fullmatch(r"\d{1,4}", text, re.ASCII) or not 1 <= int(text) <= MAX_LIMIT:
        raise InvalidRequest(f"`{name}` must be a whole number from 1 to {MAX_LIMIT}.", param=name)
    return int(text)


def _parse_cursor(name: str, text: str) -> str:
    if not 1 <= len(text) <= MAX_TEXT:
        raise InvalidRequest("This cursor is none of ours.", param=name)
    return text


PARAMETERS: dict[str, tuple[str, Callable[[str, str], Any]]] = {
    "from": ("from_ms", parse_time),
    "to": ("to_ms", parse_time),
    "app": ("app", parse_text),
    "user_id": ("user_id", parse_text),
    "user_role": ("user_role", parse_text),
    "model": ("model", parse_text),
    "provider": ("provider", parse_text),
    "status": ("status", one_of(get_args(Status))),
    "scene": ("scene", parse_text),
    "request_id": ("request_id", parse_text),
    "cached": ("cached", one_of(get_args(Cached))),
    "currency": ("currency", _parse_currency),
    "min_cost": ("min_cost_micros", _parse_micros),
    "min_latency_ms": ("min_latency_ms", _parse_ms),
    "q": ("q", _parse_prefix),
    "sort": ("sort", one_of(get_args(Sort))),
    "limit": ("limit", _parse_limit),
    "cursor": ("cursor", _parse_cursor),
}
"""Each parameter: the field it becomes, and its parser."""

_UNINDEXED = {
    "user_role": "user_role",
    "model": "model",
    "provider": "provider",
    "scene": "scene",
    "cached": "cached",
    "currency": "currency",
    "min_cost_micros": "min_cost",
    "min_latency_ms": "min_latency_ms",
    "q": "q",
}


def _refuse_wide(query: RecordQuery, now_ms: int) -> None:
    """A page's cursor is proof enough that its first page was narrow."""
    from_ms = query.from_ms
    to_ms = now_ms if query.to_ms is None else query.to_ms
    if from_ms is not None and from_ms > to_ms:
        raise InvalidRequest("`from` must not be later than `to`.", param="from")
    if query.cursor or (from_ms is not None and to_ms - from_ms <= NARROW_MS):
        return
    wide = [name for field, name in _UNINDEXED.items() if getattr(query, field) is not None]
    if query.sort not in {"-started_at", "started_at"}:
        wide.append("sort")
    if wide:
        raise InvalidRequest(
            f"`{wide[0]}` has no index: give `from` and `to` at most 24 hours apart.", reason="range", param=wide[0]
        )
