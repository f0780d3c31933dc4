"""What calls came to, in groups: the same statements as on SQLite, of several days at once."""

from collections.abc import Sequence
from datetime import date
from typing import Any

from sqlalchemy import ColumnClause, ColumnElement, Integer, column, literal_column, select, table
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import GenericFunction

from dujiang.records.histogram import counted, unpacked
from dujiang.records.items import Items
from dujiang.records.postgres.reading import DAY, DaySql, Reader, compiled, number_of, together
from dujiang.records.postgres.texts import storable
from dujiang.records.query import Scope
from dujiang.records.reading import Clock
from dujiang.records.stats import Groups
from dujiang.records.stats_query import TIMES, StatsQuery
from dujiang.records.stats_sql import Rows, grouped, sum_rows
from dujiang.records.sums import Sums, sums_of
from dujiang.records.tables import SUMS

_ANY_DAY: ColumnElement[int] = literal_column("0", Integer).label("day")


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
            days_of: dict[Rows, list[date]] = {}
            for day, rows in sum_rows(storable(query), scope, question.days(), now_ms):
                days_of.setdefault(rows, []).append(day)
            for rows, days in days_of.items():
                day_of = {number_of(day): day for day in days} | {0: days[0]}
                for found in question.each(days, _sql(rows, is_by_time=bool(TIMES & set(query.group_by)))):
                    for day, hour, currency, *rest in found:
                        groups.add(day_of[day], hour, currency, rest[: groups.width], _sums_of(rest[groups.width :]))
        return groups.items()


def _sql(rows: Rows, *, is_by_time: bool) -> DaySql:
    """On any days, the number of the day first. Where time is not asked for, groups are made of all days' rows.

    Grouping takes longer than handing over, unless far fewer rows are left of it.
    """
    one_day = rows.statement.subquery("one_day")
    by_day = select(DAY if is_by_time else _ANY_DAY, one_day)
    if rows.groups == "one" or (rows.groups == "few" and is_by_time):
        return compiled(by_day)
    columns: list[ColumnClause[Any]] = [column(each.name) for each in by_day.selected_columns]
    return together(by_day, grouped(table("some_days", *columns)))


def _sums_of(row: Sequence[Any]) -> Sums:
    """Of a row as it is stored; or of a group's, in which PostgreSQL makes decimals of whole numbers."""
    if isinstance(row[-1], bytes):
        return sums_of(row)
    return Sums(*map(int, row[: len(SUMS)]), *map(_merged, row[len(SUMS) :]))


def _merged(parts: Sequence[bytes | float | None]) -> int:
    """Of stored histograms, or of durations."""
    return sum(unpacked(part) if isinstance(part, bytes) else counted(part) for part in parts if part is not None)
