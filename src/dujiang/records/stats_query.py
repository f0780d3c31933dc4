"""What may be asked about sums, parsed from query parameters."""

import re
from collections.abc import Callable, Iterable
from typing import Any, Literal, get_args

from msgspec import Struct

from dujiang.core.errors import InvalidRequest
from dujiang.records.moments import DAY_MS, HOUR_MS
from dujiang.records.query import PARAMETERS, RecordQuery, one_of, parse_parameters

Group = Literal["app", "user", "role", "model", "provider", "scene", "scene_version", "status", "hour", "day"]

TIMES = frozenset({"hour", "day"})
MAX_RANGE_MS = 800 * DAY_MS

_FILTERS = ("from", "to", "app", "user_id", "user_role", "model", "provider", "status", "scene")


class StatsQuery(Struct, frozen=True):
    """How to group, and the calls that count: those of `filters`, whose times are whole hours."""

    group_by: tuple[Group, ...]
    filters: RecordQuery


def parse_stats(parameters: Iterable[tuple[str, str]], now_ms: int) -> StatsQuery:
    """The question that parameters stand for: the last 24 hours where they do not say, rounded outward to hours.

    Raises as `parse_query` does.
    """
    given = parse_parameters(parameters, STATS_PARAMETERS)
    groups = (*given.pop("group_by", ()), *given.pop("interval", ()))
    to_ms = -(-given.pop("to_ms", now_ms) // HOUR_MS) * HOUR_MS
    from_ms = given.pop("from_ms", max(to_ms - DAY_MS, 0)) // HOUR_MS * HOUR_MS
    if from_ms > to_ms:
        raise InvalidRequest("`from` must not be later than `to`.", param="from")
    if to_ms - from_ms > MAX_RANGE_MS:
        raise InvalidRequest(f"`from` and `to` must be at most {MAX_RANGE_MS // DAY_MS} days apart.", param="from")
    return StatsQuery(tuple(dict.fromkeys(groups)), RecordQuery(from_ms=from_ms, to_ms=to_ms, **given))


def _parse_groups(name: str, text: str) -> tuple[str, ...]:
    groups = re.split(r"\s*,\s*", text[:200].strip())
    for group in groups:
        if group not in get_args(Group):
            raise InvalidRequest(f"`{name}` is a list of {', '.join(get_args(Group))}.", param=name)
    return tuple(groups)


def _parse_interval(name: str, text: str) -> tuple[str, ...]:
    return (one_of(("hour", "day"))(name, text),)


STATS_PARAMETERS: dict[str, tuple[str, Callable[[str, str], Any]]] = {
    "group_by": ("group_by", _parse_groups),
    "interval": ("interval", _parse_interval),
    **{name: PARAMETERS[name] for name in _FILTERS},
}
"""Each parameter: the field it becomes, and its parser."""
