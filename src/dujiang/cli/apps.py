"""`dujiang apps`: the apps of the configuration from a shell."""

import typer
from rich.console import Console
from rich.table import Table

from dujiang.cli.configuration import configured
from dujiang.cli.database import DEFAULT_DATA_DIR, DatabaseUrl, DataDir

_WIDTH = 1_000

app = typer.Typer(
    name="apps",
    help="Apps of the configuration, which `dujiang config apply` changes.",
    no_args_is_help=True,
)


@app.callback()
def group() -> None:
    """Apps of the configuration, which `dujiang config apply` changes."""


@app.command("list")
def list_(database_url: DatabaseUrl = None, data_dir: DataDir = DEFAULT_DATA_DIR) -> None:
    """List the apps of the newest revision."""
    with configured(database_url, data_dir) as configuration:
        found = configuration.newest().checked.document.apps
    table = Table(*("id", "models", "scenes", "description"), box=None)
    for name, each in found.items():
        table.add_row(name, " ".join(each.models), " ".join(each.scenes), each.description)
    Console(width=_WIDTH, markup=False).print(table)
