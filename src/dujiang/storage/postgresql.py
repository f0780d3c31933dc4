"""PostgreSQL through psycopg 3: the address, connections on which no wait is endless, and who writes when.

A server that is gone without a word, or frozen, answers nothing and refuses nothing: its own timeouts do not run then,
and the kernel goes on acknowledging what is sent. So every wait of a connection has a deadline of ours as well.
"""

import re
from collections.abc import Generator
from typing import Any, TypeVar

import psycopg
from msgspec import Struct
from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import URL

from dujiang.core.errors import Misconfigured
from dujiang.storage.engines import WRITING, Engines, is_writing

CONNECT_TIMEOUT_S = 3
STATEMENT_TIMEOUT_S = 3.0
ANSWER_TIMEOUT_S = STATEMENT_TIMEOUT_S + 1.0
MIN_VERSION = 14

_POOL_WAIT_S = 3.0
_IDLE_IN_TRANSACTION_S = 20
_WRITERS_LOCK = 0x64756A69616E67
_VARIABLE = "DUJIANG_DATABASE_URL"
_NAME = re.compile(r"[\w.-]{1,128}")
_USER = re.compile(r"[\w.@-]{1,128}")
_HOST = re.compile(r"[\w.:/-]{1,255}")
_PARAMETERS = frozenset({"host", "port", "sslmode", "sslrootcert", "sslcert", "sslkey", "channel_binding"})

T = TypeVar("T")


class Address(Struct, frozen=True):
    """What libpq is told. `label` names the database in messages; nothing else may be shown."""

    parameters: dict[str, Any]
    label: str

    def __repr__(self) -> str:
        return f"Address({self.label!r})"


class BoundedConnection(psycopg.Connection[Any]):
    """A connection that is closed when the server does not answer within `answer_timeout_s`."""

    answer_timeout_s: float | None = ANSWER_TIMEOUT_S

    def wait(self, gen: Generator[Any, Any, T], interval: float = 0.1, timeout: float | None = None) -> T:
        """Raises `psycopg.OperationalError` when the time is over; what was asked may have happened or not."""
        try:
            return super().wait(gen, interval, timeout or self.answer_timeout_s)
        except psycopg.Error:
            if self.pgconn.transaction_status != psycopg.pq.TransactionStatus.ACTIVE:
                raise
            self.close()
        raise psycopg.OperationalError("the server does not answer")


def is_postgresql(url: URL) -> bool:
    return url.get_backend_name() in {"postgresql", "postgres"}


def address_of(url: URL) -> Address:
    """The parts of `postgresql://USER:PASSWORD@HOST:PORT/DATABASE?sslmode=…`.

    Raises `Misconfigured`, repeating nothing: an `@` in the password that is not written `%40` ends up in the host.
    """
    host, port = url.query.get("host", url.host), url.query.get("port", url.port or 5432)
    shown = [(_HOST, host), (_NAME, url.database), (_USER, url.username)]
    is_plain = all(isinstance(text, str) and pattern.fullmatch(text) for pattern, text in shown if text)
    is_known = url.drivername in {"postgresql", "postgres", "postgresql+psycopg"} and url.query.keys() <= _PARAMETERS
    if not is_plain or not is_known or not host or not url.database:
        raise Misconfigured(
            "The database URL must be `postgresql://USER:PASSWORD@HOST:PORT/DATABASE` (or `sqlite:///PATH`); in the "
            f"password, write `@`, `/`, `:` and `%` as `%40`, `%2F`, `%3A` and `%25`. After `?` it may have "
            f"{', '.join(sorted(_PARAMETERS))}.",
            param=_VARIABLE,
        )
    given = {"user": url.username, "password": url.password, "dbname": url.database}
    parameters = {name: value for name, value in (given | dict(url.query)).items() if value}
    parameters |= {"host": host, "port": port}
    return Address(parameters, f"{url.database} on {host}")


def connect_to(
    address: Address, *, statement_timeout_s: float | None, answer_timeout_s: float | None
) -> BoundedConnection:
    """A connection of our own, in no pool; what it commits survives a failure of power. None sets no bound.

    Raises `psycopg.Error`.
    """
    statement_ms = round((statement_timeout_s or 0) * 1000)
    connection = BoundedConnection.connect(
        **address.parameters,
        connect_timeout=CONNECT_TIMEOUT_S,
        application_name="dujiang",
        client_encoding="utf8",
        options=f"-c statement_timeout={statement_ms} "
        f"-c idle_in_transaction_session_timeout={_IDLE_IN_TRANSACTION_S}s -c timezone=UTC -c synchronous_commit=on",
        keepalives=1,
        keepalives_idle=10,
        keepalives_interval=5,
        keepalives_count=3,
        tcp_user_timeout=10_000,
        prepare_threshold=None,
    )
    connection.answer_timeout_s = answer_timeout_s
    return connection


def open_server(url: URL) -> Engines:
    """The database at `postgresql://…`. Raises `Misconfigured` where it cannot be reached, is too old, or not UTF-8."""
    address = address_of(url)
    _require_usable(address)
    engine = open_pool(address, statement_timeout_s=STATEMENT_TIMEOUT_S, size=4)
    event.listen(engine, "begin", _take_turns)
    unbounded = open_pool(address, statement_timeout_s=None, size=1)
    event.listen(unbounded, "begin", _take_turns)
    return Engines(
        engine.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True),
        engine.execution_options(**{WRITING: True}),
        unbounded.execution_options(**{WRITING: True}),
        address.label,
    )


def open_pool(address: Address, *, statement_timeout_s: float | None, size: int) -> Engine:
    """At most `size` connections, tried before each use. One that is not to be had within 3 s is an error."""
    answer_timeout_s = None if statement_timeout_s is None else statement_timeout_s + 1.0

    def connected() -> BoundedConnection:
        return connect_to(address, statement_timeout_s=statement_timeout_s, answer_timeout_s=answer_timeout_s)

    return create_engine(
        "postgresql+psycopg://",
        creator=connected,
        hide_parameters=True,
        pool_pre_ping=True,
        pool_size=size,
        max_overflow=0,
        pool_timeout=_POOL_WAIT_S,
        use_native_hstore=False,
    )


def _take_turns(connection: Connection) -> None:
    """Writers wait for each other from their start, as SQLite's do after BEGIN IMMEDIATE: an advisory lock that all of
    them take first, until their transaction ends. They read after that, so what they read cannot change.
    """
    if is_writing(connection):
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_WRITERS_LOCK})")


def _require_usable(address: Address) -> None:
    try:
        connection = connect_to(address, statement_timeout_s=STATEMENT_TIMEOUT_S, answer_timeout_s=ANSWER_TIMEOUT_S)
    except psycopg.Error as error:
        raise Misconfigured(f"The database {address.label} cannot be reached: {_reason(error, address)}.") from None
    with connection:
        version = connection.info.server_version // 10_000
        encoding = connection.info.parameter_status("server_encoding")
    if version < MIN_VERSION or encoding != "UTF8":
        raise Misconfigured(
            f"The database {address.label} is PostgreSQL {version} in {encoding}: Dujiang needs {MIN_VERSION} or "
            "newer, and a database made with `ENCODING 'UTF8'`."
        )


def _reason(error: psycopg.Error, address: Address) -> str:
    """libpq's own words, which name host and user. They never hold the password; if they did, it would not be shown."""
    text = " ".join(str(error).split())[:300] or type(error).__name__
    password = address.parameters.get("password")
    return (text.replace(password, "***") if password else text).rstrip(".")
