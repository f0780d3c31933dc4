"""`dujiang secrets` from a shell."""

import pytest
import typer
from typer.testing import CliRunner

from dujiang.cli import secrets as secrets_command
from dujiang.providers.binding import binding_of
from dujiang.storage.database import connect, sqlite_url
from dujiang.storage.secret_key import open_keychain
from dujiang.storage.secrets import SecretStore

VALUE = "sk-Canary0Shell1Value2Tz9"
program = typer.Typer()
program.add_typer(secrets_command.app)


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.delenv("DUJIANG_SECRET_KEY", raising=False)

    def run(*arguments, value="", environ=None):
        environment = {"DUJIANG_DATA_DIR": str(tmp_path / "data"), "COLUMNS": "80", **(environ or {})}
        result = CliRunner().invoke(program, ["secrets", *arguments], env=environment, input=value)
        assert VALUE not in result.output
        return result

    return run


def revealed(tmp_path, name, kind, base_url=""):
    folder = tmp_path / "data"
    with connect(sqlite_url(folder)) as database:
        return SecretStore(database, open_keychain(folder, {})).reveal(name, binding_of(kind, base_url)).reveal()


def test_a_secret_from_its_storing_to_its_end(run, tmp_path):
    stored = run("set", "main", "--kind", "openai", "--base-url", "https://models.example/v1", value=f"{VALUE}\n")
    assert (stored.exit_code, stored.stdout) == (0, "Stored main.\n")
    assert "keep a copy" in stored.stderr
    assert revealed(tmp_path, "main", "openai", "https://models.example") == VALUE
    second = run("set", "own", "--kind", "ernie", value="AKak:SKsk\r\n")
    assert (second.exit_code, second.stderr) == (0, "")
    assert revealed(tmp_path, "own", "ernie") == "AKak:SKsk"

    listed = run("list").stdout
    assert "https://models.example:443" in listed
    assert "https://aip.baidubce.com:443" in listed
    assert "shell" in listed

    assert run("delete", "main").stdout == "Deleted main.\n"
    gone = run("delete", "main")
    assert (gone.exit_code, gone.stderr) == (1, "Error: There is no secret `main`.\n")


def test_rotating_from_the_key_file_to_a_given_key(run, tmp_path):
    run("set", "main", "--kind", "openai", value=VALUE)
    given = {"DUJIANG_SECRET_KEY": "3c1f9a7e5b2d8064aa01bb23cc45dd67"}
    assert "Encrypted 1 secret under" in run("rotate", environ=given).stdout
    assert "Encrypted 0 secrets" in run("rotate", environ=given).stdout
    lost = run("rotate")
    assert lost.exit_code == 1
    assert "needs the key with the id" in lost.stderr


@pytest.mark.parametrize(
    ("arguments", "value", "message"),
    [
        (("main", "--kind", "ernie"), "sk-another-vendors", "key of another vendor"),
        (("main", "--kind", "ernie"), f"{'0123456789abcdef' * 2}:x", "IAM"),
        (("main", "--kind", "local"), "x", "takes secrets"),
        (("main", "--kind", "opnai"), "x", "takes secrets"),
        (("main", "--kind", "openai", "--base-url", "http://user:p@h"), "x", "user name"),
        (("main", "--kind", "openai", "--base-url", "http://169.254.169.254"), "x", "metadata"),
        (("main", "--kind", "openai", "--base-url", "${URL}"), "x", "plain ASCII"),
        (("a b", "--kind", "openai"), "x", "letters, digits"),
        (("main", "--kind", "openai"), "", "1 to 8192"),
        (("main", "--kind", "openai"), "x" * 9000, "1 to 8192"),
        (("main", "--kind", "openai"), "密钥", "printable ASCII"),
        (("main", "--kind", "openai"), "a\nb", "printable ASCII"),
    ],
)
def test_a_mistake_is_one_line_and_stores_nothing(run, arguments, value, message):
    run("list")
    result = run("set", *arguments, value=value)
    assert result.exit_code == 1
    assert message in result.stderr
    assert result.stderr.count("\n") == 1
    assert len(value) < 3 or value not in result.output
    assert run("list").stdout.count("\n") == 1


def test_a_value_is_no_argument(run):
    assert run("set", "main", VALUE[:3], "--kind", "openai").exit_code == 2
    assert "--value" not in run("set", "--help").output
