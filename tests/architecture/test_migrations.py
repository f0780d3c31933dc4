"""The migrations lead to the tables that the features declare, and never lose or half-do anything."""

import importlib
import threading
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import inspect, text

import dujiang
from dujiang import migrations
from dujiang.core.errors import Misconfigured
from dujiang.identity.key_ring import load_keys
from dujiang.identity.keys import create_key, hash_secret, list_keys
from dujiang.identity.settings import LimitSettings
from dujiang.storage.audit import Audit
from dujiang.storage.database import EXPECTED_SCHEMA, connect, metadata

PACKAGE = Path(dujiang.__file__).parent

NEXT = f"{int(EXPECTED_SCHEMA) + 1:04}"
NEXT_REVISION = """
import sqlalchemy as sa
from alembic import op

revision = "{revision}"
down_revision = "{down_revision}"


def upgrade():
    op.create_table("extra", sa.Column("id", sa.Integer, primary_key=True))
    with op.batch_alter_table("keys") as batch:
        batch.add_column(sa.Column("colour", sa.String(20), nullable=False, server_default="red"))
    {after}
"""


@pytest.fixture
def database(database_url):
    with connect(database_url) as database:
        yield database


def test_the_expected_schema_is_the_last_revision():
    scripts = ScriptDirectory.from_config(_config())
    assert scripts.get_heads() == [EXPECTED_SCHEMA]


def test_revisions_are_numbered_like_their_files():
    scripts = ScriptDirectory.from_config(_config())
    for script in scripts.walk_revisions():
        assert Path(script.path).name.startswith(f"{script.revision}_")
        assert len(script.revision) == 4
        assert script.revision.isdigit()


def test_migrating_gives_the_declared_tables(database):
    for path in PACKAGE.glob("*/tables.py"):
        importlib.import_module(f"dujiang.{path.parent.name}.tables")
    migrations.upgrade(database)
    with database.read() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []


def test_a_start_migrates_an_empty_database_and_keeps_what_is_in_a_full_one(database):
    migrations.prepare(database)
    create_key(database, app="shop", roles=["user"])
    before = list_keys(database)
    migrations.prepare(database)
    migrations.upgrade(database)
    assert list_keys(database) == before


def test_a_start_does_not_touch_an_older_schema(database):
    migrations.upgrade(database)
    _set_version(database, "0000")
    with pytest.raises(Misconfigured, match="dujiang migrate"):
        migrations.prepare(database)
    assert database.schema_version() == "0000"


def test_a_newer_schema_is_refused_by_start_and_migrate(database):
    migrations.upgrade(database)
    _set_version(database, "9999")
    for attempt in (migrations.prepare, migrations.upgrade):
        with pytest.raises(Misconfigured, match="newer"):
            attempt(database)


def test_a_file_of_another_program_is_left_alone(database):
    with database.write() as connection:
        connection.execute(text("CREATE TABLE theirs (id INTEGER)"))
    with pytest.raises(Misconfigured, match="another program"):
        migrations.prepare(database)
    assert database.schema_version() is None


def test_processes_that_migrate_at_once_wait_for_each_other(database_url):
    failures = []

    def start():
        try:
            with connect(database_url) as mine:
                migrations.prepare(mine)
        except Exception as failure:  # noqa: BLE001 whatever it is, the test must show it
            failures.append(failure)

    threads = [threading.Thread(target=start) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


def test_the_next_revision_keeps_the_keys_in_the_table(database, tmp_path):
    migrations.upgrade(database)
    create_key(database, app="shop", roles=["user"], name="till")
    before = list_keys(database)
    _migrate_further(database, tmp_path, after="pass")
    assert database.schema_version() == NEXT
    assert list_keys(database) == before
    with database.read() as connection:
        assert connection.execute(text("SELECT colour FROM keys")).scalars().all() == ["red"]


def test_a_revision_that_fails_half_way_changes_nothing_and_can_be_run_again(database, tmp_path):
    migrations.upgrade(database)
    create_key(database, app="shop", roles=["user"])
    before, schema_before = list_keys(database), _schema(database)
    with pytest.raises(ZeroDivisionError):
        _migrate_further(database, tmp_path, after="1 / 0")
    assert (list_keys(database), _schema(database)) == (before, schema_before)
    assert database.schema_version() == EXPECTED_SCHEMA
    _migrate_further(database, tmp_path, after="pass")
    assert list_keys(database) == before


def test_keys_and_audit_of_before_the_fourth_revision_are_all_there(database):
    config = _config()
    with database.write() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0003")
        connection.execute(
            text(
                "INSERT INTO keys (id, prefix, secret_hash, app, roles, name, origin, act_as_user, created_at) "
                "VALUES ('k1', 'abcdefgh', :digest, 'shop', '[\"user\"]', 'till', 'created', true, :at)"
            ),
            {"digest": hash_secret(b"the secret"), "at": "2026-01-01 00:00:00+00:00"},
        )
        connection.execute(
            text("INSERT INTO config_audit VALUES ('a1', :at, 'k1', 'put', 'applied', 'revision 1')"),
            {"at": "2026-01-01 00:00:00+00:00"},
        )
    migrations.upgrade(database)
    (key,) = list_keys(database)
    assert (key.id, key.models, key.scenes, key.limits, key.budget) == ("k1", ("*",), ("*",), LimitSettings(), None)
    assert load_keys(database).find(b"the secret").key_id == "k1"
    (row,) = Audit(database).list(None, 10)
    assert (row.id, row.subject, row.detail, row.before) == ("a1", "config", "revision 1", None)
    create_key(database, app="shop", roles=["user"])
    assert len(load_keys(database)) == 2


def _config():
    config = Config()
    config.set_main_option("script_location", migrations.SCRIPTS)
    return config


def _migrate_further(database, folder, after):
    """Runs the package's own env.py with one revision more than it ships."""
    revisions = folder / f"versions-{len(list(folder.iterdir()))}"
    revisions.mkdir()
    text = NEXT_REVISION.format(revision=NEXT, down_revision=EXPECTED_SCHEMA, after=after)
    (revisions / f"{NEXT}_next.py").write_text(text)
    config = _config()
    config.set_main_option("path_separator", "newline")
    config.set_main_option("version_locations", f"{PACKAGE / 'migrations' / 'versions'}\n{revisions}")
    with database.write() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "head")


def _set_version(database, version):
    with database.write() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = :version"), {"version": version})


def _schema(database):
    """Of every table its columns, in their order, with their types."""
    with database.read() as connection:
        found = inspect(connection)
        return {
            table: [(column["name"], str(column["type"])) for column in found.get_columns(table)]
            for table in found.get_table_names()
        }
