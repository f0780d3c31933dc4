"""The options by which a command finds the database, and its opening."""

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from dujiang.core.errors import AppError
from dujiang.storage.database import Database, connect, sqlite_url

DatabaseUrl = Annotated[
    str | None,
    typer.Option(
        envvar="DUJIANG_DATABASE_URL",
        help="sqlite:///PATH or postgresql://… Without it: dujiang.db in the data directory.",
        show_default=False,
        show_envvar=True,
    ),
]
DataDir = Annotated[
    Path, typer.Option(envvar="DUJIANG_DATA_DIR", help="Where the database and journals live.", show_envvar=True)
]
DEFAULT_DATA_DIR = Path("data")


@contextmanager
def opened(database_url: str | None, data_dir: Path) -> Generator[Database]:
    """The database for the length of a command. An `AppError` ends the command with its message and exit code 1."""
    try:
        with connect(database_url or sqlite_url(data_dir)) as database:
            yield database
    except AppError as error:
        typer.echo(f"Error: {error.message}", err=True)
        raise typer.Exit(1) from error
