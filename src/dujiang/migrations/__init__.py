"""The history of the database's schema: numbered Alembic revisions, forward only.

To change the schema: change a feature's `tables.py`, write the next `versions/NNNN_what.py`, raise `EXPECTED_SCHEMA`.
The way back is the backup made before.
"""

from sqlalchemy import Connection, inspect
from sqlalchemy.exc import DBAPIError

from dujiang.core.errors import Misconfigured
from dujiang.storage.database import Database, refuse_newer, schema_version

SCRIPTS = "dujiang:migrations"


def upgrade(database: Database) -> None:
    """Brings the schema to the newest revision: all of it or, on any failure, nothing.

    Processes that do it at once wait for each other. Raises `Misconfigured` when a newer release wrote the database,
    when it belongs to another program, or when it does not let us change it.
    """
    try:
        with database.migrate() as connection:
            version = schema_version(connection)
            refuse_newer(version, database.label)
            if version is None and inspect(connection).get_table_names():
                raise Misconfigured(
                    f"The database {database.label} holds another program's tables: choose another one."
                )
            _run(connection)
    except DBAPIError as error:
        reason = " ".join(str(error.orig).split())
        raise Misconfigured(f"The database {database.label} cannot be migrated: {reason}.") from error


def _run(connection: Connection) -> None:
    from alembic import command  # half a second that only a migration pays
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", SCRIPTS)
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


def prepare(database: Database) -> None:
    """What a start does: migrates an empty database, and refuses one whose schema is not this release's.

    An older schema waits for the operator's `dujiang migrate`, who may want a backup first.
    """
    if database.schema_version() is None:
        upgrade(database)
    database.require_schema()
