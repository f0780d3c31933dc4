"""The tables of records, and their SQL on SQLite. They are no part of what Alembic migrates: a day's file has its own
version, and PostgreSQL has these tables by `records.postgres.tables`.

A call's columns are the fields of `Record` in their order, without what was said. Ids are their 16 bytes, in whose
order time runs. Every index costs every insert, so there is one for each question that may be asked of more than a day,
and no other.
"""

from collections.abc import Sequence
from typing import Any

from msgspec import Struct
from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Double,
    Index,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    Table,
    Text,
    bindparam,
    func,
    insert,
)
from sqlalchemy.dialects import sqlite
from sqlalchemy.dialects.sqlite import insert as upsert
from sqlalchemy.schema import CreateIndex, CreateTable
from sqlalchemy.sql import ClauseElement

QUARTER_HOURS = 6
"""Of the day: what a row of `users` sums up, so that of a part of a day few hours are counted call by call."""


def _text(name: str, *, is_nullable: bool = False) -> Column[str]:
    return Column(name, Text, nullable=is_nullable)


def _integer(name: str, *, is_nullable: bool = False) -> Column[int]:
    return Column(name, BigInteger, nullable=is_nullable)


def _ms(name: str, *, is_nullable: bool = False) -> Column[float]:
    return Column(name, Double, nullable=is_nullable)


calls = Table(
    "calls",
    MetaData(),
    Column("id", LargeBinary, primary_key=True, nullable=False),
    _text("request_id"),
    _integer("started_at_ms"),
    _text("app"),
    _text("key_id"),
    _text("endpoint"),
    _text("status"),
    _integer("http_status"),
    _text("user_id", is_nullable=True),
    _text("user_role", is_nullable=True),
    _text("scene", is_nullable=True),
    _integer("scene_version", is_nullable=True),
    _text("model_requested"),
    _text("model"),
    _text("served", is_nullable=True),
    _text("provider"),
    _text("target"),
    _text("credential"),
    Column("stream", Boolean(create_constraint=False), nullable=False),
    _text("error_type", is_nullable=True),
    _text("error_text", is_nullable=True),
    _text("finish_reason", is_nullable=True),
    _integer("input_uncached"),
    _integer("cache_read"),
    _integer("cache_write"),
    _integer("output_visible"),
    _integer("reasoning"),
    _text("usage_source", is_nullable=True),
    _integer("cost_micros", is_nullable=True),
    _text("currency", is_nullable=True),
    _text("price_version", is_nullable=True),
    _text("cached", is_nullable=True),
    _ms("first_token_ms", is_nullable=True),
    _ms("total_ms"),
    _ms("overhead_ms"),
    _ms("queue_ms"),
    _integer("config_revision"),
    Column("routing", LargeBinary),
    _text("parent_id", is_nullable=True),
    _integer("client_retries"),
    _integer("request_bytes"),
    _integer("attempts"),
    _text("account_currency", is_nullable=True),
    _text("exchange_rate", is_nullable=True),
)

attempts = Table(
    "attempts",
    MetaData(),
    Column("call_id", LargeBinary, nullable=False),
    _integer("n"),
    _text("provider"),
    _text("target"),
    _text("credential"),
    _text("why"),
    _text("error_type", is_nullable=True),
    _ms("waited_ms"),
    _ms("first_token_ms", is_nullable=True),
    _ms("total_ms"),
    _integer("cost_micros", is_nullable=True),
    PrimaryKeyConstraint("call_id", "n"),
    sqlite_with_rowid=False,
)

content = Table(
    "content",
    MetaData(),
    Column("call_id", LargeBinary, primary_key=True, nullable=False),
    _text("messages"),
    _text("result"),
)

INDEXES = (
    Index("calls_app", calls.c.app, calls.c.id),
    Index("calls_key", calls.c.key_id, calls.c.id),
    Index("calls_user", calls.c.app, calls.c.user_id, calls.c.id),
    Index("calls_request", calls.c.request_id, calls.c.id),
    Index(
        "calls_not_ok",
        calls.c.status,
        calls.c.id,
        sqlite_where=calls.c.status != "ok",
        postgresql_where=calls.c.status != "ok",
    ),
)

SUMS = ("calls", "errors", "cached", "prompt_tokens", "completion_tokens", "cost_micros")
HISTOGRAMS = ("total_ms", "first_token_ms")


def _sums_and_histograms() -> list[Column[Any]]:
    return [*(_integer(name) for name in SUMS), *(Column(name, LargeBinary, nullable=False) for name in HISTOGRAMS)]


rollups = Table(
    "rollups",
    MetaData(),
    _integer("cube"),
    _integer("hour"),
    *(_text(name) for name in ("app", "model", "provider", "scene", "user_role", "status", "currency")),
    *_sums_and_histograms(),
    PrimaryKeyConstraint("cube", "hour", "app", "model", "provider", "scene", "user_role", "status", "currency"),
    sqlite_with_rowid=False,
)
"""By what each cube tells apart (`cubes.CUBES`), by hour of the day and by the day.

What a call does not have, and what a cube does not tell apart, is an empty text.
"""

users = Table(
    "users",
    MetaData(),
    _integer("quarter"),
    *(_text(name) for name in ("app", "user_id", "currency")),
    *_sums_and_histograms(),
    PrimaryKeyConstraint("quarter", "app", "user_id", "currency"),
    sqlite_with_rowid=False,
)
"""By user and quarter of the day, of which 0 begins at midnight."""


class Sql(Struct, frozen=True):
    """A statement as SQLite takes it, with the values of its named parameters."""

    text: str
    values: dict[str, Any] = {}


def compiled(statement: ClauseElement) -> Sql:
    """A statement of SQLAlchemy's, ready for any day's file. Values are never part of the text."""
    done = statement.compile(dialect=sqlite.dialect(paramstyle="named"), compile_kwargs={"render_postcompile": True})
    return Sql(str(done), {**(done.params or {})})


def creation(tables: Sequence[Table]) -> list[str]:
    """What creates the tables and their indexes."""
    indexes = (index for index in INDEXES if index.table in tables)
    statements = [*map(CreateTable, tables), *map(CreateIndex, indexes)]
    return [str(statement.compile(dialect=sqlite.dialect())) for statement in statements]


def insertion(table: Table, *, is_repeatable: bool = False) -> str:
    """An insert of whole rows, by position; one that is repeatable leaves a row alone that is there already."""
    values: dict[str, Any] = {column.name: bindparam(column.name) for column in table.columns}
    statement = upsert(table).values(values).on_conflict_do_nothing() if is_repeatable else insert(table).values(values)
    return str(statement.compile(dialect=sqlite.dialect()))


def accumulation(table: Table) -> str:
    """An insert by position into a table of sums: what is there already is added to."""
    statement = upsert(table).values({column.name: bindparam(column.name) for column in table.columns})
    new = statement.excluded
    sums = {name: table.c[name] + new[name] for name in SUMS}
    histograms = {name: func.added_histograms(table.c[name], new[name]) for name in HISTOGRAMS}
    statement = statement.on_conflict_do_update(index_elements=list(table.primary_key), set_=sums | histograms)
    return str(statement.compile(dialect=sqlite.dialect()))
