"""Questions about sums as SQL: on each day's sums, and on the calls themselves where no sums answer."""

from collections.abc import Iterator, Sequence
from datetime import date
from typing import Any

import msgspec
from msgspec import Struct
from sqlalchemy import ColumnElement, Numeric, Select, Table, case, cast, func, literal, select

from dujiang.core.errors import InvalidRequest
from dujiang.records.filters import conditions
from dujiang.records.histogram import unpacked
from dujiang.records.moments import DAY_MS, HOUR_MS, start_of
from dujiang.records.query import NARROW_MS, Scope
from dujiang.records.rollups import FAILED, MOST, Sums
from dujiang.records.stats_query import TIMES, StatsQuery
from dujiang.records.tables import HISTOGRAMS, PLAIN_DAY, SUMS, WHOLE_DAY, calls, rollups, users

# Times are rounded outward, so that 24 hours may have become 25.
_NARROW_MS = NARROW_MS + HOUR_MS
_COLUMNS = {"user": "user_id", "role": "user_role"}
_FILTERS = ("app", "user_id", "user_role", "model", "provider", "status", "scene")
_OF_USERS = {"user_id", "app"}


class _Span(Struct, frozen=True):
    """A part of a day, from an hour up to and without another. `is_whole` where the day has no calls beside it."""

    from_hour: int
    to_hour: int
    is_whole: bool


def sum_statements(
    query: StatsQuery, scope: Scope, days: Sequence[date], now_ms: int
) -> Iterator[tuple[date, Select[Any]]]:
    """What to run on which day. The rows: hour, currency, one value per group that is no time, sums, histograms.

    Raises `InvalidRequest` where only the calls themselves could tell and the range is more than 24 hours.
    """
    from_ms, to_ms = query.filters.from_ms or 0, query.filters.to_ms or 0
    of_sums: dict[_Span, Select[Any]] = {}
    for day in days:
        span = _span_of(day, from_ms, to_ms, now_ms)
        if span is None:
            continue
        table = _table_of(query, scope, span)
        if table is not None:
            if span not in of_sums:
                of_sums[span] = _on_sums(table, span, query, scope)
            yield day, of_sums[span]
            continue
        if to_ms - from_ms > _NARROW_MS and not _is_of_users(query, scope):
            raise InvalidRequest(
                "Sums like these are kept for no longer range: give `from` and `to` at most 24 hours apart.",
                reason="range",
                param="group_by",
            )
        for part in _parts(span) if "hour" in query.group_by else [span]:
            yield day, _on_calls(day, part, query, scope)


def sums_of(row: Sequence[Any]) -> Sums:
    """The last columns of a row."""
    return Sums(*row[: len(SUMS)], *map(unpacked, row[len(SUMS) :]))


def _span_of(day: date, from_ms: int, to_ms: int, now_ms: int) -> _Span | None:
    start = start_of(day)
    first, last = max(from_ms, start), min(to_ms, start + DAY_MS)
    if first >= last:
        return None
    is_whole = first == start and last >= min(start + DAY_MS, now_ms)
    return _Span((first - start) // HOUR_MS, (last - start) // HOUR_MS, is_whole)


def _parts(span: _Span) -> list[_Span]:
    return [_Span(hour, hour + 1, is_whole=False) for hour in range(span.from_hour, span.to_hour)]


def _table_of(query: StatsQuery, scope: Scope, span: _Span) -> Table | None:
    """The table whose sums answer, None where only the calls do."""
    if scope.key_id is not None:
        return None
    if "user_id" not in _columns_asked(query):
        return rollups
    return users if span.is_whole and _is_of_users(query, scope) else None


def _is_of_users(query: StatsQuery, scope: Scope) -> bool:
    """Whether the users' sums answer, but for the first and the last day."""
    return scope.key_id is None and "hour" not in query.group_by and _columns_asked(query) <= _OF_USERS


def _columns_asked(query: StatsQuery) -> set[str]:
    filters = {name for name in _FILTERS if getattr(query.filters, name) is not None}
    return filters | set(_group_columns(query))


def _group_columns(query: StatsQuery) -> list[str]:
    return [_COLUMNS.get(group, group) for group in query.group_by if group not in TIMES]


def _on_sums(table: Table, span: _Span, query: StatsQuery, scope: Scope) -> Select[Any]:
    groups = [table.c[name] for name in _group_columns(query)]
    hour: ColumnElement[int] = table.c.hour if "hour" in query.group_by else literal(0)
    wanted = [table.c[name] == value for name in _FILTERS if (value := getattr(query.filters, name)) is not None]
    if scope.app is not None:
        wanted.append(table.c.app == scope.app)
    if table is rollups and span.is_whole and "hour" not in query.group_by:
        is_plain = _columns_asked(query).isdisjoint({"scene", "user_role"})
        wanted.append(rollups.c.hour == (PLAIN_DAY if is_plain else WHOLE_DAY))
    elif table is rollups:
        wanted.append(rollups.c.hour.between(span.from_hour, span.to_hour - 1))
    sums = [func.sum(table.c[name]) for name in SUMS]
    histograms = [func.merged_histograms(table.c[name]) for name in HISTOGRAMS]
    key = [hour, table.c.currency, *groups]
    return select(*key, *sums, *histograms).where(*wanted).group_by(*key)


def _on_calls(day: date, span: _Span, query: StatsQuery, scope: Scope) -> Select[Any]:
    start = start_of(day)
    filters = msgspec.structs.replace(
        query.filters, from_ms=start + span.from_hour * HOUR_MS, to_ms=start + span.to_hour * HOUR_MS
    )
    groups = [func.coalesce(calls.c[name], "") for name in _group_columns(query)]
    currency = case((calls.c.cost_micros.is_not(None), func.coalesce(calls.c.currency, "")), else_="")
    sums = [
        func.count(),
        func.count().filter(calls.c.status.in_(FAILED)),
        func.count().filter(calls.c.cached.is_not(None)),
        _sum_of(calls.c.input_uncached, calls.c.cache_read, calls.c.cache_write),
        _sum_of(calls.c.output_visible, calls.c.reasoning),
        _sum_of(func.coalesce(calls.c.cost_micros, 0)),
    ]
    histograms = [func.counted_durations(calls.c[name]) for name in HISTOGRAMS]
    statement = select(literal(span.from_hour), currency, *groups, *sums, *histograms)
    return statement.where(*conditions(filters, scope)).group_by(currency, *groups)


def _sum_of(first: ColumnElement[int], *others: ColumnElement[int]) -> ColumnElement[Any]:
    """Of a call's parts, no more than `MOST` from each call; exact where the parts overflow 64 bits together."""
    whole: ColumnElement[Any] = cast(first, Numeric)
    for part in others:
        whole += part
    return func.sum(case((whole > MOST, MOST), else_=whole))
