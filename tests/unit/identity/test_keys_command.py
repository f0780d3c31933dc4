"""`dujiang keys` and `dujiang migrate` from a shell."""

import pytest
import typer
from typer.testing import CliRunner

from dujiang.cli import keys as keys_command
from dujiang.cli.migrate import migrate
from dujiang.identity.key_ring import load_keys
from dujiang.storage.database import EXPECTED_SCHEMA, connect, sqlite_url

program = typer.Typer()
program.add_typer(keys_command.app)
program.command()(migrate)


@pytest.fixture
def run(tmp_path):
    def run(*arguments):
        environment = {"DUJIANG_DATA_DIR": str(tmp_path / "data"), "COLUMNS": "80"}
        return CliRunner().invoke(program, arguments, env=environment)

    return run


def test_a_key_from_its_making_to_its_end(run, tmp_path):
    made = run("keys", "create", "--app", "shop", "--role", "user", "--role", "guest", "--name", "the till's")
    assert made.exit_code == 0
    secret = made.stdout.strip()
    with connect(sqlite_url(tmp_path / "data")) as database:
        caller = load_keys(database).find(secret.encode())
    assert caller is not None
    assert (caller.app, caller.roles) == ("shop", ("user", "guest"))

    listed = run("keys", "list")
    assert caller.key_id in listed.stdout
    assert secret[3:11] in listed.stdout
    assert secret[11:] not in listed.stdout

    assert run("keys", "revoke", caller.key_id).exit_code == 0
    with connect(sqlite_url(tmp_path / "data")) as database:
        assert load_keys(database).find(secret.encode()) is None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("keys", "list"), "Run `dujiang migrate`"),
        (("keys", "create", "--app", "", "--role", "user"), "app: must not be empty"),
        (("keys", "list", "--database-url", "postgresql://u:canary@127.0.0.1:1/d"), "cannot be reached"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_1(run, arguments, message):
    result = run(*arguments)
    assert result.exit_code == 1
    assert message in result.stderr
    assert result.stderr.count("\n") == 1
    assert "canary" not in result.output


def test_revoking_an_unknown_key(run):
    run("migrate")
    result = run("keys", "revoke", "k9")
    assert (result.exit_code, result.stderr) == (1, "Error: There is no key `k9`.\n")


def test_migrate_says_what_it_did(run):
    assert f"is now at schema {EXPECTED_SCHEMA} (before: none)" in run("migrate").stdout
    assert f"is at schema {EXPECTED_SCHEMA} already" in run("migrate").stdout
