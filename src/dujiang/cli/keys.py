"""`dujiang keys`: API keys from a shell, straight on the database."""

from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from dujiang.cli.database import DEFAULT_DATA_DIR, DatabaseUrl, DataDir, opened
from dujiang.identity.keys import create_key, list_keys, revoke_key
from dujiang.migrations import prepare

_WIDTH = 1_000  # wider than any row: the terminal may wrap a line, but an id is never cut

app = typer.Typer(
    name="keys",
    help="API keys. A running server takes a change up within a second.",
    no_args_is_help=True,
)


@app.command()
def create(
    app_id: Annotated[str, typer.Option("--app", help="The app that the key belongs to.", show_default=False)],
    role: Annotated[list[str], typer.Option(help="A role of the key; may be repeated.", show_default=False)],
    name: Annotated[str, typer.Option(help="What the key is for.", show_default=False)] = "",
    database_url: DatabaseUrl = None,
    data_dir: DataDir = DEFAULT_DATA_DIR,
) -> None:
    """Make a key and print its secret: the only time anybody can see it."""
    with opened(database_url, data_dir) as database:
        prepare(database)
        key_id, secret = create_key(database, app=app_id, roles=role, name=name)
    typer.echo(f"id: {key_id}", err=True)
    print(secret)


@app.command("list")
def list_(database_url: DatabaseUrl = None, data_dir: DataDir = DEFAULT_DATA_DIR) -> None:
    """List the keys, never their secrets."""
    with opened(database_url, data_dir) as database:
        database.require_schema()
        found = list_keys(database)
    table = Table("id", "prefix", "app", "roles", "name", "created", "expires", "revoked", box=None)
    for key in found:
        moments = (key.created_at, key.expires_at, key.revoked_at)
        times = (moment.strftime("%Y-%m-%d %H:%M") if moment else "" for moment in moments)
        table.add_row(key.id, key.prefix, key.app, " ".join(key.roles), key.name, *times)
    Console(width=_WIDTH, markup=False).print(table)


@app.command()
def revoke(
    key_id: Annotated[str, typer.Argument(help="The id of the key, as `dujiang keys list` shows it.")],
    database_url: DatabaseUrl = None,
    data_dir: DataDir = DEFAULT_DATA_DIR,
) -> None:
    """End a key for good."""
    with opened(database_url, data_dir) as database:
        database.require_schema()
        revoke_key(database, key_id)
    print(f"Revoked {key_id}.")
