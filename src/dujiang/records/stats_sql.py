"""Questions about sums as SQL: on each day's sums, and on the calls themselves where no sums answer."""

from collections.abc import Iterator, Sequence
from datetime import date
from functools import cache, partial
from typing import Any, Literal

import msgspec
from msgspec import Struct
from sqlalchemy import (
    ColumnElement,
    CompoundSelect,
    FromClause,
    Integer,
    Numeric,
    ScalarSelect,
    Select,
    Table,
    Text,
    case,
    cast,
    func,
    literal,
    literal_column,
    select,
    union_all,
)
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement

from dujiang.core.errors import InvalidRequest
from dujiang.records.cubes import COARSER, CUBES, FINEST, HOURS, WHOLE_DAY, smallest_cube
from dujiang.records.filters import conditions
from dujiang.records.moments import DAY_MS, HOUR_MS, start_of
from dujiang.records.query import NARROW_MS, Scope
from dujiang.records.rollups import FAILED, MOST
from dujiang.records.stats_query import TIMES, StatsQuery
from dujiang.records.tables import HISTOGRAMS, QUARTER_HOURS, SUMS, calls, rollups, users

# Times are rounded outward, so that 24 hours may have become 25.
_NARROW_MS = NARROW_MS + HOUR_MS
_COLUMNS = {"user": "user_id", "role": "user_role"}
_FILTERS = ("app", "user_id", "user_role", "model", "provider", "status", "scene")
_OF_CUBES = frozenset(CUBES[FINEST])
_OF_USERS = {"user_id", "app"}


class _Span(Struct, frozen=True):
    """A part of a day, from an hour up to and without another. `is_whole` where the day has no calls beside it."""

    from_hour: int
    to_hour: int
    is_whole: bool


class Rows(Struct, frozen=True, eq=False):
    """A day's rows that count: hour, currency, one value per group that is no time, sums, histograms.

    `groups` tells of how many rows a group is made: a `few`, `many`, or but `one`. Folding moves calls from one row to
    another, so that the statement sees all in one state.
    """

    statement: Select[Any] | CompoundSelect[Any]
    groups: Literal["one", "few", "many"]


def grouped(rows: FromClause) -> Select[*tuple[Any, ...]]:
    """What rows with the columns of `Rows` come to by all that stands before the sums."""
    names = [column.name for column in rows.columns]
    key: list[ColumnElement[Any]] = [rows.c[name] for name in names[: -len(SUMS) - len(HISTOGRAMS)]]
    sums = [func.sum(rows.c[name]).label(name) for name in SUMS]
    histograms = [func.merged_histograms(rows.c[name]).label(name) for name in HISTOGRAMS]
    return select(*key, *sums, *histograms).group_by(*key)


def last_folded_hour() -> ScalarSelect[int]:
    """As part of a statement: the day's last folded hour, -1 where there is none."""
    last = func.coalesce(func.max(rollups.c.hour), -1)
    return select(last).where(rollups.c.cube == COARSER[0]).scalar_subquery()


def sum_rows(query: StatsQuery, scope: Scope, days: Sequence[date], now_ms: int) -> Iterator[tuple[date, Rows]]:
    """What to add up on which day; days that are asked alike share their statement.

    Raises `InvalidRequest` where only the calls themselves could tell and the range is more than 24 hours.
    """
    from_ms, to_ms = query.filters.from_ms or 0, query.filters.to_ms or 0
    on_rollups = cache(partial(_on_rollups, query=query, scope=scope))
    on_users = cache(partial(_on_users, query=query, scope=scope))
    for day in days:
        span = _span_of(day, from_ms, to_ms, now_ms)
        if span is None:
            continue
        if scope.key_id is None and _columns_asked(query, scope) <= _OF_CUBES:
            yield day, on_rollups(span)
        elif _is_of_users(query, scope):
            yield day, on_users(span)
            yield from ((day, _on_calls(day, rest, query, scope)) for rest in _beside_quarters(span))
        elif to_ms - from_ms > _NARROW_MS:
            raise InvalidRequest(
                "Sums like these are kept for no longer range: give `from` and `to` at most 24 hours apart.",
                reason="range",
                param="group_by",
            )
        else:
            spans = _hours(span) if "hour" in query.group_by else [span]
            yield from ((day, _on_calls(day, each, query, scope)) for each in spans)


def _span_of(day: date, from_ms: int, to_ms: int, now_ms: int) -> _Span | None:
    start = start_of(day)
    first, last = max(from_ms, start), min(to_ms, start + DAY_MS)
    if first >= last:
        return None
    is_whole = first == start and last >= min(start + DAY_MS, now_ms)
    return _Span((first - start) // HOUR_MS, (last - start) // HOUR_MS, is_whole)


def _hours(span: _Span) -> list[_Span]:
    return [_Span(hour, hour + 1, is_whole=False) for hour in range(span.from_hour, span.to_hour)]


def _is_of_users(query: StatsQuery, scope: Scope) -> bool:
    """Whether the users' sums answer, but for the first and the last hours."""
    return scope.key_id is None and "hour" not in query.group_by and _columns_asked(query, scope) <= _OF_USERS


def _columns_asked(query: StatsQuery, scope: Scope) -> set[str]:
    """What the calls that count are told from others by, and from each other, beside the time."""
    filters = {name for name in _FILTERS if getattr(query.filters, name) is not None}
    return filters | set(_group_columns(query)) | ({"app"} if scope.app is not None else set())


def _group_columns(query: StatsQuery) -> list[str]:
    return [_COLUMNS.get(group, group) for group in query.group_by if group not in TIMES]


def _on_rollups(span: _Span, query: StatsQuery, scope: Scope) -> Rows:
    """On the smallest cube that answers, and on the finest for hours that are not folded into it yet."""
    cube = smallest_cube(_columns_asked(query, scope))
    hours = rollups.c.hour.between(span.from_hour, span.to_hour - 1)
    is_by_day = span.is_whole and "hour" not in query.group_by
    sums = partial(_sums, rollups, query, scope)
    if cube == FINEST and not is_by_day:
        return Rows(sums(rollups.c.cube == FINEST, hours), "many")
    folded = sums(rollups.c.cube == cube, rollups.c.hour == WHOLE_DAY if is_by_day else hours)
    is_unfolded = rollups.c.hour >= _Larger(last_folded_hour() + 1, literal(span.from_hour))
    unfolded = sums(rollups.c.cube == FINEST, rollups.c.hour < _end_hour(span), is_unfolded)
    return Rows(union_all(folded, unfolded), "many" if cube == FINEST else "few")


def _end_hour(span: _Span) -> int:
    """A whole day's is midnight, even of today: what is to come has no calls yet."""
    return HOURS if span.is_whole else span.to_hour


def _on_users(span: _Span, query: StatsQuery, scope: Scope) -> Rows:
    """On the sums of the quarters that lie within, of which there may be none."""
    return Rows(_sums(users, query, scope, users.c.quarter.in_(_quarters(span))), "many")


def _beside_quarters(span: _Span) -> Iterator[_Span]:
    """The hours of a span before and after the quarters that lie within."""
    quarters = _quarters(span)
    before = _Span(span.from_hour, min(quarters.start * QUARTER_HOURS, span.to_hour), is_whole=False)
    after = _Span(max(quarters.stop * QUARTER_HOURS, before.to_hour), span.to_hour, is_whole=False)
    return (rest for rest in (before, after) if rest.from_hour < rest.to_hour)


def _quarters(span: _Span) -> range:
    """Those that lie within a span."""
    first = -(-span.from_hour // QUARTER_HOURS)
    return range(first, max(_end_hour(span) // QUARTER_HOURS, first))


def _sums(table: Table, query: StatsQuery, scope: Scope, *wanted: ColumnElement[bool]) -> Select[Any]:
    """The wanted rows of a table of sums; the hour is 0 where nobody asks for it."""
    filters = [table.c[name] == value for name in _FILTERS if (value := getattr(query.filters, name)) is not None]
    if scope.app is not None:
        filters.append(table.c.app == scope.app)
    hour: ColumnElement[int] = table.c.hour if "hour" in query.group_by else literal_column("0", Integer).label("hour")
    names = ("currency", *_group_columns(query), *SUMS, *HISTOGRAMS)
    return select(hour, *(table.c[name] for name in names)).where(*wanted, *filters)


def _on_calls(day: date, span: _Span, query: StatsQuery, scope: Scope) -> Rows:
    start = start_of(day)
    filters = msgspec.structs.replace(
        query.filters, from_ms=start + span.from_hour * HOUR_MS, to_ms=start + span.to_hour * HOUR_MS
    )
    groups = [func.coalesce(cast(calls.c[name], Text), "") for name in _group_columns(query)]
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
    return Rows(statement.where(*conditions(filters, scope)).group_by(currency, *groups), "one")


def _sum_of(first: ColumnElement[int], *others: ColumnElement[int]) -> ColumnElement[Any]:
    """Of a call's parts, no more than `MOST` from each call; exact where the parts overflow 64 bits together."""
    whole: ColumnElement[Any] = cast(first, Numeric)
    for part in others:
        whole += part
    return func.sum(case((whole > MOST, MOST), else_=whole))


class _Larger(FunctionElement[int]):
    """The larger of two values. SQLite would search its index from one of two conditions, which may be the smaller."""

    inherit_cache = True


@compiles(_Larger)
def _greatest(element: _Larger, compiler: SQLCompiler, **options: Any) -> str:
    return f"greatest({compiler.process(element.clauses, **options)})"


@compiles(_Larger, "sqlite")
def _max(element: _Larger, compiler: SQLCompiler, **options: Any) -> str:
    return f"max({compiler.process(element.clauses, **options)})"
