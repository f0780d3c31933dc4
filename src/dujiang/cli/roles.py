"""`dujiang roles`: the roles of the configuration from a shell."""

import typer
from rich.console import Console
from rich.table import Table

from dujiang.cli.configuration import configured
from dujiang.cli.database import DEFAULT_DATA_DIR, DatabaseUrl, DataDir

_WIDTH = 1_000

app = typer.Typer(
    name="roles",
    help="Roles of the configuration, which `dujiang config apply` changes.",
    no_args_is_help=True,
)


@app.callback()
def group() -> None:
    """Roles of the configuration, which `dujiang config apply` changes."""


@app.command("list")
def list_(database_url: DatabaseUrl = None, data_dir: DataDir = DEFAULT_DATA_DIR) -> None:
    """List the roles of the newest revision."""
    with configured(database_url, data_dir) as configuration:
        found = configuration.newest().checked.document.roles
    table = Table(*("id", "permissions", "models", "scenes"), box=None)
    for name, each in found.items():
        table.add_row(name, " ".join(each.permissions), " ".join(each.models), " ".join(each.scenes))
    Console(width=_WIDTH, markup=False).print(table)
