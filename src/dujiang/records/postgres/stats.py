"""What calls came to, in groups: the same statements as on SQLite, each on all days that it fits at once."""

from collections.abc import Iterator, Sequence
from datetime import date
from itertools import groupby
from operator import itemgetter
from typing import Any

from sqlalchemy import Select
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import GenericFunction

from dujiang.records.histogram import counted, unpacked
from dujiang.records.items import Items
from dujiang.records.postgres.reading import DAY, Question, Reader
from dujiang.records.postgres.texts import storable
from dujiang.records.query import Scope
from dujiang.records.reading import Clock
from dujiang.records.rollups import Sums
from dujiang.records.stats import Groups
from dujiang.records.stats_query import TIMES, StatsQuery
from dujiang.records.stats_sql import sum_statements
from dujiang.records.tables import SUMS, calls

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
            statements = sum_statements(storable(query), scope, question.days(), now_ms)
            for statement, pairs in groupby(statements, itemgetter(1)):
                days = [day for day, _ in pairs]
                found = (_by_day if TIMES & set(query.group_by) else _together)(question, statement, days)
                for day, hour, currency, *rest in found:
                    groups.add(day, hour, currency, rest[: groups.width], _sums_of(rest[groups.width :]))
        return groups.items()


def _by_day(question: Question, statement: Select[Any], days: Sequence[date]) -> Iterator[tuple[Any, ...]]:
    """The rows of a statement, the day first."""
    if _is_of_calls(statement):
        yield from ((days[0], *row) for row in question.rows(statement))
        return
    for some in _chunks(days):
        on_days = statement.add_columns(DAY).where(DAY.in_(some)).group_by(DAY)
        yield from ((day, *row) for *row, day in question.rows(on_days))


def _together(question: Question, statement: Select[Any], days: Sequence[date]) -> Iterator[tuple[Any, ...]]:
    """As `_by_day`, with any of the days first: nobody asks which."""
    is_of_calls = _is_of_calls(statement)
    for each in [statement] if is_of_calls else [statement.where(DAY.in_(some)) for some in _chunks(days)]:
        yield from ((days[0], *row) for row in question.rows(each))


def _is_of_calls(statement: Select[Any]) -> bool:
    """Whether it asks for a day's calls, as the statement says itself, and not for sums."""
    return calls in statement.get_final_froms()


def _chunks(days: Sequence[date]) -> Iterator[Sequence[date]]:
    for start in range(0, len(days), _MOST_DAYS):
        yield days[start : start + _MOST_DAYS]


def _sums_of(row: Sequence[Any]) -> Sums:
    """PostgreSQL adds whole numbers to decimals, and hands histograms over unmerged."""
    return Sums(*map(int, row[: len(SUMS)]), *map(_histogram, row[len(SUMS) :]))


def _histogram(parts: Sequence[bytes | float | None]) -> int:
    """Of stored histograms, or of durations."""
    return sum(unpacked(part) if isinstance(part, bytes) else counted(part) for part in parts if part is not None)
