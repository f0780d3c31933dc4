"""`dujiang budgets` from a shell."""

import pytest
import typer
from typer.testing import CliRunner

from dujiang.cli import budgets as budgets_command
from dujiang.cli import config as config_command
from dujiang.cli.migrate import migrate

program = typer.Typer()
program.add_typer(budgets_command.app)
program.add_typer(config_command.app)
program.command()(migrate)


@pytest.fixture
def run(tmp_path):
    environment = {
        "DUJIANG_DATA_DIR": str(tmp_path / "data"),
        "DUJIANG_SECRET_KEY": "0123456789abcdefghijklmnopqrstuvwxyz",
        "COLUMNS": "80",
    }

    def run(*arguments):
        return CliRunner().invoke(program, arguments, env=environment)

    assert run("migrate").exit_code == 0
    document = tmp_path / "dujiang.yaml"
    document.write_text("apps: {shop: {budget: {amount: 9, currency: CNY, per: day}}}", "utf-8")
    assert run("config", "apply", str(document)).exit_code == 0
    return run


def test_a_budget_is_made_listed_and_corrected(run):
    made = run("budgets", "create", "user:shop/*", "1.50", "--per", "day", "--soft-ratio", "0.8", "--timezone", "UTC")
    assert made.exit_code == 0
    id = made.stdout.strip()
    assert "soft_ratio: 0.8" in run("config", "get").stdout
    assert run("budgets", "correct", id, "0.25", "--reason", "paid", "--subject", "user:shop/a").exit_code == 0
    assert (
        run("budgets", "correct", id, "--reason", "too much", "--subject", "user:shop/a", "--", "-0.05").exit_code == 0
    )
    rows = [line.split() for line in run("budgets", "list").stdout.splitlines()[1:]]
    assert [id, "document", "user:shop/*", "1.50", "CNY", "day", "0.200000"] in rows
    assert ["app", "app:shop", "9", "CNY", "day", "0.000000"] in [row[1:] for row in rows]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("create", "app:shop", "none"), "budgets[0].amount"),
        (("create", "app:nobody", "1"), "no app `nobody`"),
        (("correct", "0123456789abcdef", "1", "--reason", "x"), "There is no budget"),
    ],
)
def test_a_mistake_is_told_with_exit_code_1(run, arguments, message):
    result = run("budgets", *arguments)
    assert result.exit_code == 1
    assert message in result.stderr


def test_what_is_there_already_and_what_is_no_amount_are_told(run):
    id = run("budgets", "create", "app:shop", "1").stdout.strip()
    again = run("budgets", "create", "app:shop", "2")
    assert (again.exit_code, "already" in again.stderr) == (1, True)
    for amount in ("much", "NaN", "1e99", "0"):
        assert run("budgets", "correct", id, amount, "--reason", "x").exit_code == 1
    assert run("budgets", "correct", id, "1", "--reason", " ").exit_code == 1
