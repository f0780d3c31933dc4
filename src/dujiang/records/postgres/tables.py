"""The tables of records on PostgreSQL: those of `records.tables`, partitioned by UTC day, in a schema of their own.

Calls and what belongs to them are partitioned by id, in whose order time runs; sums, whose rows have no id, by a column
`day` that they have here alone. Texts compare by their bytes (`COLLATE "C"`), as in SQLite and whatever the database's
language, so that the same question has the same answer on both.

A partition is made apart and then attached, which disturbs no reader; `PARTITION OF` would lock all of them out.
"""

from collections.abc import Iterable
from datetime import date, timedelta
from typing import Any

from msgspec import Struct
from psycopg import sql
from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Date,
    Double,
    Index,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    SmallInteger,
    Table,
    Text,
)
from sqlalchemy.dialects import postgresql
from sqlalchemy.schema import CreateIndex, CreateTable
from sqlalchemy.types import TypeEngine

from dujiang.records import tables as shared
from dujiang.records.moments import DAY_MS, first_id, start_of

SCHEMA = "records"

SCHEMA_VERSION = 2
"""Of these tables. No release kept them in version 1, from before sums by coarser cubes."""

_metadata = MetaData(schema=SCHEMA)
_DIALECT = postgresql.dialect()
_TYPE_NAMES: dict[type[TypeEngine[Any]], str] = {
    BigInteger: "int8",
    Boolean: "bool",
    Double: "float8",
    LargeBinary: "bytea",
    Text: "text",
}


def _partitioned(table: Table, by: str, *own: Column[Any], first: str | None = None) -> Table:
    """A table like `table`, with columns of its own after it and in its primary key, which `first` may begin."""
    key = [*(column.name for column in table.primary_key), *(column.name for column in own)]
    key.sort(key=lambda name: name != first)
    return Table(
        table.name,
        _metadata,
        *(Column(column.name, _type_of(column), nullable=column.nullable) for column in table.columns),
        *own,
        PrimaryKeyConstraint(*key),
        postgresql_partition_by=f"RANGE ({by})",
    )


def _type_of(column: Column[Any]) -> Any:
    return Text(collation="C") if isinstance(column.type, Text) else column.type


def _day() -> Column[date]:
    return Column("day", Date, nullable=False)


calls = _partitioned(shared.calls, "id")
attempts = _partitioned(shared.attempts, "call_id")
content = _partitioned(shared.content, "call_id")
rollups = _partitioned(shared.rollups, "day", _day())
users = _partitioned(shared.users, "day", _day(), first="user_id")

SUMS = (rollups, users)
OF_A_DAY = (calls, attempts, content, rollups, users)

for _index in shared.INDEXES:
    _where = _index.dialect_options["postgresql"]["where"]
    Index(_index.name, *(calls.c[column.name] for column in _index.columns), postgresql_where=_where)

installation = Table(
    "installation",
    _metadata,
    Column("schema_version", SmallInteger, nullable=False),
    Column("cursor_key", LargeBinary, nullable=False),
)
"""One row: of which release these tables are, and what cursors are sealed with, whichever server wrote them."""


class Partition(Struct, frozen=True):
    """A table's part for one day."""

    table: Table
    day: date

    @property
    def name(self) -> str:
        return f"{self.table.name}_{self.day:%Y%m%d}"

    @property
    def identifier(self) -> sql.Identifier:
        return sql.Identifier(SCHEMA, self.name)


def creation() -> list[bytes]:
    """What makes the tables, without a day, and their indexes."""
    statements = [
        *(CreateTable(table) for table in (installation, *OF_A_DAY)),
        *(
            CreateIndex(index)
            for table in OF_A_DAY
            for index in sorted(table.indexes, key=lambda index: str(index.name))
        ),
    ]
    return [str(statement.compile(dialect=_DIALECT)).encode() for statement in statements]


def partition_creation(partition: Partition) -> list[sql.Composed]:
    """What makes a partition and attaches it. Rows of sums are rewritten all the time, so their pages keep room."""
    fill = 70 if partition.table in SUMS else 100
    bounds = _bounds(partition)
    return [
        sql.SQL("CREATE TABLE {} (LIKE {} INCLUDING ALL) WITH (fillfactor = {})").format(
            partition.identifier, sql.Identifier(SCHEMA, partition.table.name), sql.Literal(fill)
        ),
        sql.SQL("ALTER TABLE {} ATTACH PARTITION {} FOR VALUES FROM ({}) TO ({})").format(
            sql.Identifier(SCHEMA, partition.table.name), partition.identifier, *map(sql.Literal, bounds)
        ),
    ]


def _bounds(partition: Partition) -> tuple[date, date] | tuple[bytes, bytes]:
    if partition.table in SUMS:
        return partition.day, partition.day + timedelta(days=1)
    start = start_of(partition.day)
    return first_id(start), first_id(start + DAY_MS)


def type_names(columns: Iterable[Column[Any]]) -> list[str]:
    """The types as PostgreSQL's catalogue calls them."""
    return [_TYPE_NAMES[type(column.type)] for column in columns]
