"""The command `dujiang`: every subcommand in its own file."""

from typing import Annotated

import typer

from dujiang import __version__
from dujiang.cli import apps, budgets, config, keys, models, records, roles, secrets, targets, users
from dujiang.cli.check import check
from dujiang.cli.emulator import emulator
from dujiang.cli.migrate import migrate
from dujiang.cli.serve import serve

app = typer.Typer(
    name="dujiang",
    help="Dujiang 都江: one AI backend for many apps.",
    no_args_is_help=True,
    pretty_exceptions_show_locals=False,
)

for command in (serve, check, migrate, emulator):
    app.command()(command)
app.add_typer(apps.app)
app.add_typer(budgets.app)
app.add_typer(config.app)
app.add_typer(keys.app)
app.add_typer(models.app)
app.add_typer(records.app)
app.add_typer(roles.app)
app.add_typer(secrets.app)
app.add_typer(targets.app)
app.add_typer(users.app)


def _show_version(is_asked: bool) -> None:
    if is_asked:
        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def main(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Dujiang 都江: one AI backend for many apps."""
