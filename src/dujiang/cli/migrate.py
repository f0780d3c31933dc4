"""`dujiang migrate`: brings the database to this release's schema."""

from dujiang.cli.database import DEFAULT_DATA_DIR, DatabaseUrl, DataDir, opened
from dujiang.migrations import upgrade
from dujiang.storage.database import EXPECTED_SCHEMA


def migrate(database_url: DatabaseUrl = None, data_dir: DataDir = DEFAULT_DATA_DIR) -> None:
    """Bring the database to this release's schema. Make a backup first: there is no way back but that."""
    with opened(database_url, data_dir) as database:
        before = database.schema_version()
        upgrade(database)
        if before == EXPECTED_SCHEMA:
            print(f"{database.label} is at schema {EXPECTED_SCHEMA} already.")
        else:
            print(f"{database.label} is now at schema {EXPECTED_SCHEMA} (before: {before or 'none'}).")
