"""Makes the tables of records in a database, once."""

from typing import Any

import psycopg
from psycopg import Cursor, sql

from dujiang.core.errors import Misconfigured
from dujiang.records.cursor import new_key
from dujiang.records.postgres.session import Session
from dujiang.records.postgres.tables import SCHEMA, SCHEMA_VERSION, creation, installation

_INSTALLATION = sql.Identifier(SCHEMA, installation.name)
_LOCK = 0x7265636F726473


def prepare(session: Session) -> bytes:
    """Makes the tables where there are none, and returns the key of cursors. Processes that do it at once wait for each
    other.

    Raises `Misconfigured` where they are of another version, and where they cannot be made.
    """
    try:
        with session.transaction() as cursor:
            version, cursor_key = _installed(cursor)
    except psycopg.Error as error:
        reason = " ".join(str(error).split())
        raise Misconfigured(f"The tables of records cannot be used in {session.label}: {reason}.") from error
    if version < SCHEMA_VERSION:
        raise Misconfigured(
            f"The records in {session.label} are at schema {version}, of before the first release, and are not "
            f"upgraded to {SCHEMA_VERSION}: export them with what wrote them, then DROP SCHEMA {SCHEMA} CASCADE."
        )
    if version > SCHEMA_VERSION:
        raise Misconfigured(
            f"The records in {session.label} are at schema {version}, this release knows {SCHEMA_VERSION}: a newer one "
            "was here. Install that release, or restore the backup made before it."
        )
    return cursor_key


def _installed(cursor: Cursor[Any]) -> tuple[int, bytes]:
    cursor.execute("SELECT pg_advisory_xact_lock(%s)", (_LOCK,))
    cursor.execute("SELECT to_regclass(%s) IS NOT NULL", (f"{SCHEMA}.{installation.name}",))
    [(is_there,)] = cursor.fetchall()
    if not is_there:
        _make(cursor)
    cursor.execute(sql.SQL("SELECT schema_version, cursor_key FROM {}").format(_INSTALLATION))
    [(version, cursor_key)] = cursor.fetchall()
    return version, cursor_key


def _make(cursor: Cursor[Any]) -> None:
    cursor.execute(sql.SQL("CREATE SCHEMA IF NOT EXISTS {}").format(sql.Identifier(SCHEMA)))
    for statement in creation():
        cursor.execute(statement)
    cursor.execute(sql.SQL("INSERT INTO {} VALUES (%s, %s)").format(_INSTALLATION), (SCHEMA_VERSION, new_key()))
