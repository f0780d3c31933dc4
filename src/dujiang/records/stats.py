"""What calls came to, in groups: read from each day's sums, and from the calls themselves where no sums answer."""

from collections.abc import Sequence
from datetime import date
from typing import Any

from dujiang.core.errors import InvalidRequest
from dujiang.records.histogram import quantiles
from dujiang.records.items import Item, Items
from dujiang.records.moments import HOUR_MS, iso, start_of
from dujiang.records.partitions import Partitions
from dujiang.records.query import Scope
from dujiang.records.reading import Clock, run
from dujiang.records.stats_query import TIMES, StatsQuery
from dujiang.records.stats_sql import Rows, grouped, sum_rows
from dujiang.records.sums import Sums, sums_of
from dujiang.records.tables import Sql, compiled

MAX_GROUPS = 10_000


class Stats:
    """Answers questions about sums from one directory's files."""

    def __init__(self, days: Partitions) -> None:
        self._days = days

    def items(self, query: StatsQuery, scope: Scope, now_ms: int, clock: Clock) -> Items:
        """One item per group, in the groups' order.

        Raises `InvalidRequest` where only the calls themselves could tell and the range is more than 24 hours, or where
        there are more than `MAX_GROUPS` groups.
        """
        groups = Groups(query)
        ready: dict[Rows, Sql] = {}
        for day, rows in sum_rows(query, scope, self._days.days(), now_ms):
            if rows not in ready:
                is_small = rows.groups != "many"
                ready[rows] = compiled(rows.statement if is_small else grouped(rows.statement.subquery()))
            for hour, currency, *rest in run(self._days, day, ready[rows], clock):
                groups.add(day, hour, currency, rest[: groups.width], sums_of(rest[groups.width :]))
        return groups.items()


class Groups:
    """The sums of a question, as they are found."""

    def __init__(self, query: StatsQuery) -> None:
        self._query = query
        self._names = [group for group in query.group_by if group not in TIMES]
        self._is_by_hour = "hour" in query.group_by
        self._is_by_day = self._is_by_hour or "day" in query.group_by
        self._found: dict[tuple[Any, ...], dict[str, Sums]] = {}
        self.width = len(self._names)
        """How many of the groups are no times: what a row of sums has of them."""

    def add(self, day: date, hour: int, currency: str, values: Sequence[str], sums: Sums) -> None:
        """Raises `InvalidRequest` where there are too many groups."""
        key = (day if self._is_by_day else None, hour if self._is_by_hour else 0, *values)
        by_currency = self._found.setdefault(key, {})
        if currency in by_currency:
            by_currency[currency].add(sums)
        else:
            by_currency[currency] = sums
        if len(self._found) > MAX_GROUPS:
            raise InvalidRequest(f"There are more than {MAX_GROUPS} groups: narrow the range.", param="group_by")

    def items(self) -> Items:
        found = [(self._named(*key), by_currency) for key, by_currency in self._found.items()]
        found.sort(key=lambda group: [str(part or "") for part in group[0]])
        return [_item(self._query, key, by_currency) for key, by_currency in found]

    def _named(self, day: date | None, hour: int, *values: str) -> tuple[Any, ...]:
        """A group's values in the order of `group_by`, as an item shows them."""
        own: dict[str, Any] = {name: value or None for name, value in zip(self._names, values, strict=True)}
        if own.get("scene_version"):
            own["scene_version"] = int(own["scene_version"])
        if day is not None:
            own |= {"day": day.isoformat(), "hour": iso(start_of(day) + hour * HOUR_MS)}
        return tuple(own[group] for group in self._query.group_by)


def _item(query: StatsQuery, key: tuple[Any, ...], by_currency: dict[str, Sums]) -> Item:
    total = Sums()
    for sums in by_currency.values():
        total.add(sums)
    p50, p95, p99 = quantiles(total.total_ms, (0.5, 0.95, 0.99))
    (first_token_p95,) = quantiles(total.first_token_ms, (0.95,))
    return {
        **dict(zip(query.group_by, key, strict=True)),
        "calls": total.calls,
        "errors": total.errors,
        "error_ratio": _ratio(total.errors, total.calls),
        "prompt_tokens": total.prompt_tokens,
        "completion_tokens": total.completion_tokens,
        "cost": {name: sums.cost_micros / 1_000_000 for name, sums in sorted(by_currency.items()) if name},
        "p50_ms": p50,
        "p95_ms": p95,
        "p99_ms": p99,
        "first_token_p95_ms": first_token_p95,
        "cached_ratio": _ratio(total.cached, total.calls),
    }


def _ratio(part: int, whole: int) -> float:
    return round(part / whole, 6) if whole else 0.0
