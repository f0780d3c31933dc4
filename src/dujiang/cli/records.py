"""`dujiang records`: what is done to stored records from a shell."""

import os
from collections.abc import Generator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import track

from dujiang.cli.database import DEFAULT_DATA_DIR, DatabaseUrl, DataDir, opened
from dujiang.config.opening import compile_nothing, open_configuration
from dujiang.config.settings import Document
from dujiang.core.errors import AppError
from dujiang.core.money import Cost
from dujiang.records.price_book import declared_price, open_book
from dujiang.records.price_catalogue import bundled_catalogue
from dujiang.records.pricing import cost_micros
from dujiang.records.repricing import PastUse, PriceOf, Repriced, Repricing
from dujiang.records.stores import Store, open_store
from dujiang.storage.database import sqlite_url
from dujiang.storage.secret_key import open_keychain
from dujiang.storage.secrets import SecretStore
from dujiang.supervisor import only_server_of

app = typer.Typer(name="records", help="Stored call records.", no_args_is_help=True)

_console = Console(highlight=False)


@app.callback()
def records() -> None:
    """Stored call records."""


@app.command()
def reprice(
    from_: Annotated[datetime, typer.Option("--from", formats=["%Y-%m-%d"], help="The first day, UTC.")],
    to: Annotated[
        datetime | None, typer.Option(formats=["%Y-%m-%d"], help="The last day, UTC; without it, today.")
    ] = None,
    only_unpriced: Annotated[bool, typer.Option("--only-unpriced", help="Calls whose cost is not known.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Tell what would change, and change nothing.")] = False,
    database_url: DatabaseUrl = None,
    data_dir: DataDir = DEFAULT_DATA_DIR,
) -> None:
    """Price past calls again, by the newest revision's prices and rates, or the catalogue's of their time.

    The server must be stopped. Each day is done whole or not at all, and may be done again. Calls with more than one
    attempt that used tokens stay as they are: which used what is not recorded.
    """
    last = (to or datetime.now(UTC)).date()
    with _store(database_url, data_dir) as (store, price_of):
        days = sorted(day for day in store.days() if from_.date() <= day <= last)
        work = store.appraise if dry_run else store.reprice
        total = Repriced()
        chosen = Repricing(price_of, only_unpriced)
        for day in track(days, "pricing", console=_console, transient=True):
            total = total.plus(work(day, chosen))
    _console.print(
        f"{total.changed} calls {'would cost' if dry_run else 'cost'} something else, {total.same} as much as before; "
        f"{total.unpriced} have no price, {total.shared} were shared by several attempts."
    )


@contextmanager
def _store(database_url: str | None, data_dir: Path) -> Generator[tuple[Store, PriceOf]]:
    """The records, which nobody else writes meanwhile, and the newest revision's prices."""
    with opened(database_url, data_dir) as database:
        try:
            with only_server_of(data_dir):
                database.require_schema()
                secrets = SecretStore(database, open_keychain(data_dir, os.environ))
                configuration = open_configuration(database, secrets, compile_nothing)
                configuration.load()
                newest = configuration.newest()
                store = open_store(database_url or sqlite_url(data_dir), data_dir)
                try:
                    yield store, _price_of(newest.checked.document, newest.revision)
                finally:
                    store.close()
        except AppError as error:
            typer.echo(f"Error: {error.message}", err=True)
            raise typer.Exit(1) from error


def _price_of(document: Document, revision: int) -> PriceOf:
    book = open_book(document.money, bundled_catalogue())
    declared = {
        name: declared_price(model.price, revision)
        for name, model in document.models.items()
        if model.price is not None
    }

    def price_of(use: PastUse) -> Cost | None:
        provider = document.providers.get(use.provider)
        if provider is None:
            return None
        vendor_model = use.target.partition("/")[2]
        price = book.price_of(declared.get(use.model), provider.kind, vendor_model, use.at_ms)
        if price is None:
            return None
        return Cost(cost_micros(price, use.usage), price.currency, price.version, book.exchanges[price.currency])

    return price_of
