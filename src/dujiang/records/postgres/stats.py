"""What calls came to, in groups: the same statements as on SQLite, each on all days that it fits at once."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from typing import Any

from sqlalchemy import ARRAY, ColumnElement, Date, ScalarSelect, Select, bindparam, func, select
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import GenericFunction

from dujiang.records.cubes import COARSER, FINEST
from dujiang.records.histogram import counted, unpacked
from dujiang.records.items import Items
from dujiang.records.postgres.reading import DAY, Question, Reader
from dujiang.records.postgres.texts import storable
from dujiang.records.query import Scope
from dujiang.records.reading import Clock
from dujiang.records.stats import Groups
from dujiang.records.stats_query import TIMES, StatsQuery
from dujiang.records.stats_sql import Part, sum_parts
from dujiang.records.sums import Sums
from dujiang.records.tables import SUMS, calls, rollups

_MOST_DAYS = 100


class _MergedHistograms(GenericFunction[Any]):
    name = "merged_histograms"
    inherit_cache = True


class _CountedDurations(GenericFunction[Any]):
    name = "counted_durations"
    inherit_cache = True


@compiles(_MergedHistograms, "postgresql")
@compiles(_CountedDurations, "postgresql")
def _collected(element: GenericFunction[Any], compiler: SQLCompiler, **options: Any) -> str:
    """PostgreSQL has none of these aggregates, which SQLite has from us: it collects, and we add."""
    return f"array_agg({compiler.process(element.clauses, **options)})"


class PostgresStats:
    """Answers questions about sums from one database."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    def items(self, query: StatsQuery, scope: Scope, now_ms: int, clock: Clock) -> Items:
        """One item per group, in the groups' order. Raises as `Stats.items` does."""
        groups = Groups(query)
        with self._reader.question(clock) as question:
            days_of: dict[Part, list[date]] = {}
            for day, parts in sum_parts(storable(query), scope, question.days(), now_ms):
                for part in parts:
                    days_of.setdefault(part, []).append(day)
            folded = _folded(question, days_of)
            run = _by_day if TIMES & set(query.group_by) else _together
            for part, days in days_of.items():
                for statement, some in _statements(part, days, folded):
                    for day, hour, currency, *rest in run(question, statement, some):
                        groups.add(day, hour, currency, rest[: groups.width], _sums_of(rest[groups.width :]))
        return groups.items()


def _statements(
    part: Part, days: Sequence[date], folded: Mapping[date, int]
) -> Iterator[tuple[Select[Any], Sequence[date]]]:
    """What finds a part's rows on all its days, in as few statements as there may be, and the days of each."""
    if part.unfolded_from is not None:
        for day in folded.keys() & set(days):
            since = rollups.c.hour >= max(folded[day] + 1, part.unfolded_from)
            yield part.rows.where(since, DAY.in_([day])), [day]
    elif calls in part.rows.get_final_froms():
        yield part.rows, days
    else:
        yield from ((part.rows.where(DAY.in_(some)), some) for some in _chunks(days))


def _folded(question: Question, days_of: Mapping[Part, Sequence[date]]) -> dict[date, int]:
    """The days on which an hour is not folded yet, each with the last that is, or -1: today, and hardly another."""
    asked = {day for part, days in days_of.items() if part.unfolded_from is not None for day in days}
    some_days = func.unnest(bindparam("days", type_=ARRAY(Date))).column_valued("asked")
    last = {cube: _last_hour(cube, some_days) for cube in (FINEST, COARSER[0])}
    statement = select(some_days, last[FINEST], last[COARSER[0]])
    found = (row for some in _chunks(sorted(asked)) for row in question.rows(statement.params(days=some)))
    return {day: folded for day, finest, folded in found if finest > folded}


def _last_hour(cube: int, day: ColumnElement[date]) -> ScalarSelect[int]:
    """One step into the index of the day's partition."""
    last = func.coalesce(func.max(rollups.c.hour), -1)
    return select(last).where(rollups.c.cube == cube, day == DAY).scalar_subquery()


def _by_day(question: Question, statement: Select[Any], days: Sequence[date]) -> Iterator[tuple[Any, ...]]:
    """The rows of a statement, the day first."""
    if len(days) == 1:
        yield from _together(question, statement, days)
        return
    for *row, day in question.rows(statement.add_columns(DAY).group_by(DAY)):
        yield (day, *row)


def _together(question: Question, statement: Select[Any], days: Sequence[date]) -> Iterator[tuple[Any, ...]]:
    """As `_by_day`, with any of the days first: nobody asks which."""
    yield from ((days[0], *row) for row in question.rows(statement))


def _chunks(days: Sequence[date]) -> Iterator[Sequence[date]]:
    for start in range(0, len(days), _MOST_DAYS):
        yield days[start : start + _MOST_DAYS]


def _sums_of(row: Sequence[Any]) -> Sums:
    """PostgreSQL adds whole numbers to decimals, and hands histograms over unmerged."""
    return Sums(*map(int, row[: len(SUMS)]), *map(_histogram, row[len(SUMS) :]))


def _histogram(parts: Sequence[bytes | float | None]) -> int:
    """Of stored histograms, or of durations."""
    return sum(unpacked(part) if isinstance(part, bytes) else counted(part) for part in parts if part is not None)
