"""`dujiang budgets`: budgets from a shell, straight on the database."""

import asyncio
import os
from collections.abc import Generator
from contextlib import contextmanager
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.console import Console
from rich.table import Table

from dujiang.cli.database import DEFAULT_DATA_DIR, DatabaseUrl, DataDir, opened
from dujiang.config.author import operator
from dujiang.config.budgets import SECTION, adding, compile_budgets, id_in_document, no_budget
from dujiang.config.opening import compile_nothing, open_configuration
from dujiang.config.problems import InvalidDocument
from dujiang.config.service import Configuration
from dujiang.core.errors import InvalidRequest
from dujiang.identity.budgets import Listed
from dujiang.identity.correcting import correcting
from dujiang.identity.ledger import Ledger
from dujiang.identity.standings import Standings
from dujiang.identity.users import Users
from dujiang.storage.database import Database
from dujiang.storage.memory import MemoryStore
from dujiang.storage.secret_key import open_keychain
from dujiang.storage.secrets import SecretStore

_AUTHOR = operator("command line")
_WIDTH = 1_000  # wider than any row: the terminal may wrap a line, but an id is never cut

app = typer.Typer(
    name="budgets",
    help="Budgets, and what is spent of them. A running server takes a change up within a second.",
    no_args_is_help=True,
)

_Configuration = Configuration[None]


@app.command("list")
def list_(database_url: DatabaseUrl = None, data_dir: DataDir = DEFAULT_DATA_DIR) -> None:
    """List the budgets of the document and of its apps, with what the ledger has in the running window."""
    with _opened(database_url, data_dir) as (database, configuration):
        listed = _listed(configuration)
        standings = asyncio.run(Standings(Ledger(database), MemoryStore()).of(listed))
    table = Table("id", "source", "subject", "limit", "currency", "per", "spent", box=None)
    for each, standing in zip(listed, standings, strict=True):
        terms = each.purse.terms
        spent = f"{standing.spent_micros / 1_000_000:.6f}"
        table.add_row(each.id, each.source, each.subject, f"{terms.amount:f}", terms.currency, terms.per, spent)
    Console(width=_WIDTH, markup=False).print(table)


@app.command()
def create(
    subject: Annotated[
        str, typer.Argument(help="`app:A`, `key:ID`, `role:R` or `user:A/ID`, or one of them with `*`.")
    ],
    amount: Annotated[str, typer.Argument(help="What may be spent in a window.")],
    currency: Annotated[str, typer.Option(help="Its three letters.")] = "CNY",
    per: Annotated[
        Literal["hour", "day", "week", "month", "total"], typer.Option(help="How long a window is.")
    ] = "month",
    soft_ratio: Annotated[
        float | None, typer.Option(min=0, max=1, help="The share at which to be warned.", show_default=False)
    ] = None,
    timezone: Annotated[
        str | None, typer.Option(help="The time zone of days, weeks and months.", show_default=False)
    ] = None,
    database_url: DatabaseUrl = None,
    data_dir: DataDir = DEFAULT_DATA_DIR,
) -> None:
    """Declare one more budget, which makes a revision of the document, and print its id."""
    given = {"soft_ratio": soft_ratio, "timezone": timezone}
    budget = {"subject": subject, "amount": amount, "currency": currency, "per": per}
    budget |= {key: value for key, value in given.items() if value is not None}
    with _opened(database_url, data_dir) as (_, configuration):
        done = configuration.edit_list(SECTION, adding(budget), _AUTHOR, "create", SECTION)
    print(id_in_document(done.checked.document.budgets[-1]))


@app.command()
def correct(
    budget_id: Annotated[str, typer.Argument(help="The id of the budget, as `dujiang budgets list` shows it.")],
    amount: Annotated[str, typer.Argument(help="What to count as spent; with `-- -5`, what to give back.")],
    reason: Annotated[str, typer.Option(help="Why; it is kept.", show_default=False)],
    subject: Annotated[
        str | None, typer.Option(help="Whose account, where the budget has a pattern.", show_default=False)
    ] = None,
    database_url: DatabaseUrl = None,
    data_dir: DataDir = DEFAULT_DATA_DIR,
) -> None:
    """Correct what is spent of a budget in the running window."""
    with _opened(database_url, data_dir) as (database, configuration):
        listed = next((each for each in _listed(configuration) if each.id == budget_id), None)
        if listed is None:
            raise no_budget(budget_id)
        if not reason.strip():
            raise InvalidRequest("Give a `--reason`.")
        wanted = correcting(listed, _decimal(amount), subject, None)
        currency = listed.purse.terms.currency
        made = Ledger(database).correct(
            wanted.account, currency, wanted.amount_micros, reason=reason[:1000], author=_AUTHOR.name
        )
    print(f"Corrected: {made.amount_micros / 1_000_000:f} {currency} for {made.subject}.")


@contextmanager
def _opened(database_url: str | None, data_dir: Path) -> Generator[tuple[Database, _Configuration]]:
    with opened(database_url, data_dir) as database:
        database.require_schema()
        secrets = SecretStore(database, open_keychain(data_dir, os.environ))
        configuration = open_configuration(database, secrets, compile_nothing)
        configuration.load()
        try:
            yield database, configuration
        except InvalidDocument as invalid:
            for problem in invalid.problems:
                typer.echo(f"Problem: {problem}", err=True)
            raise typer.Exit(1) from None


def _listed(configuration: _Configuration) -> list[Listed]:
    return list(compile_budgets(configuration.newest().checked.document, Users()).listed(()))


def _decimal(text: str) -> Decimal:
    try:
        amount = Decimal(text)
    except InvalidOperation:
        raise InvalidRequest(f"`{text[:40]}` is no amount.") from None
    if not amount.is_finite() or abs(amount) > 10**12:
        raise InvalidRequest(f"`{text[:40]}` is no amount.")
    return amount
