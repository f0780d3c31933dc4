"""A query as SQL, written so that SQLite walks the one index that fits it best; PostgreSQL finds it by itself."""

from typing import Any

from sqlalchemy import Column, ColumnElement, Select, false, func, literal_column, or_, select, tuple_
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement

from dujiang.records.cursor import Position
from dujiang.records.moments import first_id
from dujiang.records.query import RecordQuery, Scope
from dujiang.records.tables import calls

Condition = ColumnElement[bool]

_EQUALITIES = ("app", "user_id", "user_role", "model", "provider", "status", "scene", "request_id")
_LAST_CHARACTER = "\U0010ffff"


def page_statement(query: RecordQuery, scope: Scope, after: Position | None, limit: int) -> Select[Any]:
    """The first `limit` rows of `calls` after a position, in the query's order."""
    key = _sort_key(query)
    statement = select(calls).where(*conditions(query, scope))
    if key is None:
        is_rising = query.sort == "started_at"
        if after is not None:
            statement = statement.where(calls.c.id > after.id if is_rising else calls.c.id < after.id)
        order = [calls.c.id if is_rising else calls.c.id.desc()]
    else:
        if after is not None:
            statement = statement.where(tuple_(key, calls.c.id) < (after.value, after.id))
        order = [key.desc(), calls.c.id.desc()]
    return statement.order_by(*order).limit(limit)


def conditions(query: RecordQuery, scope: Scope) -> list[Condition]:
    """All that must hold of a row of `calls`."""
    if scope.app is not None and query.app not in {None, scope.app}:
        return [false()]
    equal = {name: value for name in _EQUALITIES if (value := getattr(query, name)) is not None}
    equal |= {name: value for name in ("app", "key_id") if (value := getattr(scope, name)) is not None}
    leading = _leading(equal)
    found: list[Condition] = [
        (calls.c[name] if name in leading else _Unindexed(calls.c[name])) == value for name, value in equal.items()
    ]
    if "status" in leading:
        found.append(calls.c.status != literal_column("'ok'"))
    if "user_id" in leading and "app" not in equal:
        found.append(calls.c.app.in_(_apps()))
    return found + _range(query) + _other(query)


def _apps() -> Select[Any]:
    """The apps that have calls, found by leaps along their index (a "loose index scan"), so that users' own serves."""
    found = select(func.min(calls.c.app).label("app")).cte("apps", recursive=True)
    following = select(func.min(calls.c.app)).where(calls.c.app > found.c.app).correlate(found).scalar_subquery()
    found = found.union_all(select(following).where(found.c.app.is_not(None)))
    return select(found.c.app).where(found.c.app.is_not(None))


def _leading(equal: dict[str, Any]) -> set[str]:
    """The columns whose index is to be walked: SQLite's own guess, made without statistics, may take another."""
    if "request_id" in equal:
        return {"request_id"}
    if "user_id" in equal:
        return {"app", "user_id"}
    if "key_id" in equal:
        return {"key_id"}
    if equal.get("status", "ok") != "ok":
        return {"status"}
    return {"app"}


def _range(query: RecordQuery) -> list[Condition]:
    found: list[Condition] = []
    if query.from_ms is not None:
        found.append(calls.c.id >= first_id(query.from_ms))
    if query.to_ms is not None:
        found.append(calls.c.id < first_id(query.to_ms))
    return found


def _other(query: RecordQuery) -> list[Condition]:
    """What no index answers."""
    found: list[Condition] = []
    if query.cached in {"true", "false"}:
        found.append(calls.c.cached.is_not(None) if query.cached == "true" else calls.c.cached.is_(None))
    elif query.cached is not None:
        found.append(calls.c.cached == query.cached)
    if query.currency is not None:
        found.append(calls.c.currency == query.currency)
    if query.min_cost_micros is not None:
        found.append(calls.c.cost_micros >= query.min_cost_micros)
    if query.min_latency_ms is not None:
        found.append(calls.c.total_ms >= query.min_latency_ms)
    if query.q is not None:
        found.append(or_(*(_begins(calls.c[name], query.q) for name in ("request_id", "user_id", "error_text"))))
    return found


def _begins(column: Column[Any], start: str) -> Condition:
    """A range of texts instead of LIKE: nothing in `start` has a meaning of its own, and case counts as in an id."""
    plain = _Unindexed(column)
    return (plain >= start) & (plain <= start + _LAST_CHARACTER)


def _sort_key(query: RecordQuery) -> ColumnElement[Any] | None:
    """What a query sorts by beside the id, None for the time alone. A cost that is not known comes after all."""
    match query.sort:
        case "-total_ms":
            return calls.c.total_ms
        case "-cost":
            return func.coalesce(calls.c.cost_micros, -1)
        case _:
            return None


class _Unindexed(FunctionElement[Any]):
    """The column with a plus before it, which SQLite looks up in no index (https://sqlite.org/optoverview.html §2)."""

    inherit_cache = True

    def __init__(self, column: Column[Any]) -> None:
        super().__init__(column)
        self.type = column.type


@compiles(_Unindexed)
def _with_plus(element: _Unindexed, compiler: SQLCompiler, **options: Any) -> str:
    return f"+{compiler.process(element.clauses, **options)}"


@compiles(_Unindexed, "postgresql")
def _plain(element: _Unindexed, compiler: SQLCompiler, **options: Any) -> str:
    return compiler.process(element.clauses, **options)
