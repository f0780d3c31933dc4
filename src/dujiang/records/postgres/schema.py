"""Makes the tables of records in a database, once."""

from dujiang.core.errors import Misconfigured
from dujiang.records.cursor import new_key
from dujiang.records.postgres.session import Session
from dujiang.records.postgres.tables import SCHEMA, creation
from dujiang.records.tables import SCHEMA_VERSION

_LOCK = 0x7265636F726473


def prepare(session: Session) -> bytes:
    """Makes the tables where there are none, and returns the key of cursors. Processes that do it at once wait for each
    other.

    Raises `Misconfigured` where a later release made them.
    """
    with session.transaction() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", (_LOCK,))
        cursor.execute("SELECT to_regclass(%s) IS NOT NULL", (f"{SCHEMA}.installation",))
        if not cursor.fetchone()[0]:
            cursor.execute(f"CREATE SCHEMA IF NOT EXISTS {SCHEMA}")
            for statement in creation():
                cursor.execute(statement)
            cursor.execute(f"INSERT INTO {SCHEMA}.installation VALUES (%s, %s)", (SCHEMA_VERSION, new_key()))
        cursor.execute(f"SELECT schema_version, cursor_key FROM {SCHEMA}.installation")
        version, cursor_key = cursor.fetchone()
    if version > SCHEMA_VERSION:
        raise Misconfigured(
            f"The records in {session.label} are at schema {version}, this release knows {SCHEMA_VERSION}: a newer one "
            "was here. Install that release, or restore the backup made before it."
        )
    return cursor_key
