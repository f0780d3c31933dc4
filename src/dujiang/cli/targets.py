"""`dujiang targets`: taking targets out and putting them back from a shell."""

from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from dujiang.cli.database import DEFAULT_DATA_DIR, DatabaseUrl, DataDir, opened
from dujiang.identity.keys import OPERATOR
from dujiang.storage.holds import Selection, State, hold, read_holds, release

_WIDTH = 1_000

app = typer.Typer(
    name="targets",
    help="Targets that operators took out. A running server takes a change up within a second.",
    no_args_is_help=True,
)

Provider = Annotated[str, typer.Option("--provider", help="All targets of a provider.", show_default=False)]
Target = Annotated[str, typer.Option("--target", help="A vendor's model: `provider/model`.", show_default=False)]
Credential = Annotated[str, typer.Option("--credential", help="All that use a credential.", show_default=False)]
Reason = Annotated[str, typer.Option("--reason", help="Why; shown in health and to other operators.")]


@app.command("list")
def list_(database_url: DatabaseUrl = None, data_dir: DataDir = DEFAULT_DATA_DIR) -> None:
    """List what is out by an operator's word. What breakers and vendors did is in `GET /api/v1/targets`."""
    table = Table("state", "provider", "target", "credential", "since", "by", "reason", box=None)
    with opened(database_url, data_dir) as database:
        database.require_schema()
        for each in read_holds(database).held:
            names = (each.of.provider or "*", each.of.target or "*", each.of.credential or "*")
            table.add_row(each.state, *names, each.since.strftime("%Y-%m-%d %H:%M"), each.author, each.reason)
    Console(width=_WIDTH, markup=False).print(table)


@app.command()
def drain(
    reason: Reason,
    provider: Provider = "",
    target: Target = "",
    credential: Credential = "",
    database_url: DatabaseUrl = None,
    data_dir: DataDir = DEFAULT_DATA_DIR,
) -> None:
    """Let no new call to some targets, though nothing is wrong: those under way go on."""
    _hold(database_url, data_dir, Selection(provider, target, credential), "drained", reason)


@app.command()
def eject(
    reason: Reason,
    provider: Provider = "",
    target: Target = "",
    credential: Credential = "",
    database_url: DatabaseUrl = None,
    data_dir: DataDir = DEFAULT_DATA_DIR,
) -> None:
    """Let no new call to some targets, because something is wrong: health is degraded."""
    _hold(database_url, data_dir, Selection(provider, target, credential), "ejected", reason)


@app.command()
def restore(
    provider: Provider = "",
    target: Target = "",
    credential: Credential = "",
    database_url: DatabaseUrl = None,
    data_dir: DataDir = DEFAULT_DATA_DIR,
) -> None:
    """Put some targets back, all where none are named. That breakers close at once, too, takes the API."""
    with opened(database_url, data_dir) as database:
        database.require_schema()
        release(database, Selection(provider, target, credential), OPERATOR.name)
    print("Restored.")


def _hold(database_url: str | None, data_dir: DataDir, of: Selection, state: State, reason: str) -> None:
    if of == Selection():
        raise typer.BadParameter("Name a --provider, a --target or a --credential.")
    if not 1 <= len(reason) <= 500:
        raise typer.BadParameter("Give a reason of at most 500 characters.", param_hint="--reason")
    with opened(database_url, data_dir) as database:
        database.require_schema()
        hold(database, of, state, reason, OPERATOR.name)
    print(f"{state.capitalize()}.")
