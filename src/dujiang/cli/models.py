"""`dujiang models`: the embedded models on this machine."""

import os
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn
from rich.table import Column, Table

from dujiang.providers.embedded.cache import cache_dir, placed
from dujiang.providers.embedded.pull import PullFailed, Report, forget_if_broken, pull
from dujiang.providers.embedded.registry import UnknownModel, find_model, known_models

app = typer.Typer(name="models", help="Embedded models: models that run on this machine.", no_args_is_help=True)

CacheDir = Annotated[
    Path | None,
    typer.Option(
        "--cache-dir",
        envvar="DUJIANG_CACHE_DIR",
        help="Where model files lie. Default: ~/.cache/dujiang/models.",
        show_default=False,
    ),
]


@app.command("pull")
def pull_(
    name: Annotated[str, typer.Argument(help="A name or alias that `dujiang models list` shows.")] = "default",
    verify: Annotated[
        bool, typer.Option("--verify", help="Hash the file anew, even where it is already there.")
    ] = False,
    cache: CacheDir = None,
) -> None:
    """Fetch a model, checked by its official SHA-256, and print its path. Interrupted, it goes on the next time.

    The operator's own copy comes first: DUJIANG_MODEL_FILE names the official file, DUJIANG_MODEL_MIRROR a folder or
    base address that holds it.
    """
    directory = cache or cache_dir(os.environ)
    try:
        model = find_model(name)
        if verify and forget_if_broken(model, directory):
            typer.echo(f"{directory / model.file} is damaged; fetching it anew.", err=True)
        with ExitStack() as stack:
            path = pull(model, directory, os.environ, _report(stack))
    except (UnknownModel, PullFailed, OSError) as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(1) from error
    except KeyboardInterrupt:
        typer.echo("\nInterrupted. Run it again to go on from here.", err=True)
        raise typer.Exit(130) from None
    print(path)


@app.command("list")
def list_(cache: CacheDir = None) -> None:
    """List the models that `pull` knows, and which are here."""
    directory = cache or cache_dir(os.environ)
    table = Table(Column("name", no_wrap=True), "alias", Column("MB", justify="right"), "licence", "here", box=None)
    for model in known_models().values():
        here = "yes" if placed(model, directory) else ""
        table.add_row(model.name, " ".join(model.aliases), f"{model.bytes / 1e6:,.0f}", model.licence, here)
    Console().print(table, markup=False)


def _report(stack: ExitStack) -> Report:
    return _Bar(stack) if sys.stderr.isatty() else _Lines()


class _Bar:
    """A progress bar on a terminal; it appears with the first byte."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack
        self._progress = Progress(
            TextColumn("{task.percentage:>3.0f} %"),
            BarColumn(),
            DownloadColumn(),
            TransferSpeedColumn(),
            TimeRemainingColumn(),
            console=Console(stderr=True),
        )
        self._task = self._progress.add_task("pull", total=None)

    def note(self, text: str) -> None:
        self._progress.console.print(text, markup=False, highlight=False)

    def received(self, done_bytes: int, total_bytes: int) -> None:
        if not self._progress.live.is_started:
            self._stack.enter_context(self._progress)
        self._progress.update(self._task, completed=done_bytes, total=total_bytes)


class _Lines:
    """Plain lines where nobody watches: one for every tenth, with the speed so far."""

    def __init__(self) -> None:
        self._tenth = -1
        self._began: tuple[float, int] | None = None

    def note(self, text: str) -> None:
        typer.echo(text, err=True)
        self._tenth = -1
        self._began = None

    def received(self, done_bytes: int, total_bytes: int) -> None:
        began_at, began_bytes = self._began = self._began or (time.monotonic(), done_bytes)
        tenth = done_bytes * 10 // total_bytes
        if tenth == self._tenth:
            return
        self._tenth = tenth
        rate = (done_bytes - began_bytes) / max(time.monotonic() - began_at, 0.001)
        typer.echo(f"{tenth * 10:>3} % of {total_bytes / 1e6:,.0f} MB, {rate / 1e6:,.1f} MB/s", err=True)
