"""`dujiang config`: the configuration's revisions from a shell."""

import json
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from dujiang.cli.configuration import configured
from dujiang.cli.database import DEFAULT_DATA_DIR, DatabaseUrl, DataDir
from dujiang.config.author import operator
from dujiang.config.difference import Difference, differences
from dujiang.config.problems import InvalidDocument
from dujiang.config.service import Configuration
from dujiang.config.tree import format_of, read_tree
from dujiang.config.unmask import shown_tree
from dujiang.config.writing import write_tree
from dujiang.core.problem import Problem

app = typer.Typer(
    name="config",
    help="The configuration's revisions. A running server takes a new one up within a second.",
    no_args_is_help=True,
)

Comment = Annotated[str, typer.Option(help="What the change is for.", show_default=False)]
Revision = Annotated[int, typer.Argument(min=1, help="The number of a revision.")]

_AUTHOR = operator("command line")
_SHOWN_CHARACTERS = 120

_out = Console(highlight=False, markup=False, soft_wrap=True)
_err = Console(stderr=True, highlight=False, markup=False, soft_wrap=True)


@app.command()
def get(
    revision: Annotated[int | None, typer.Option(min=1, help="Another than the newest.", show_default=False)] = None,
    format: Annotated[Literal["yaml", "json"], typer.Option(help="How it is written.")] = "yaml",
    database_url: DatabaseUrl = None,
    data_dir: DataDir = DEFAULT_DATA_DIR,
) -> None:
    """Print a revision's document, every secret as `***`, which means unchanged where it is applied again."""
    with _configuration(database_url, data_dir) as configuration:
        tree = configuration.tree(revision or configuration.newest().revision)
    print(write_tree(tree, format), end="")


@app.command()
def apply(
    file: Annotated[Path, typer.Argument(metavar="FILE", exists=True, dir_okay=False, help="A whole document.")],
    comment: Comment = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Tell what would change, and change nothing.")] = False,
    database_url: DatabaseUrl = None,
    data_dir: DataDir = DEFAULT_DATA_DIR,
) -> None:
    """Make a document the next revision: all of it, or nothing and every problem with its path."""
    with _configuration(database_url, data_dir) as configuration:
        tree = read_tree(file.read_bytes(), format_of(file))
        before = configuration.newest().revision
        shown = configuration.tree(before)
        proposal = configuration.propose(tree, _AUTHOR)
        _print_differences(list(differences(shown, shown_tree(tree))))
        _print_problems("Warning", proposal.warnings)
        if dry_run:
            return
        done = configuration.put(tree, before, _AUTHOR, comment)
        _out.print("Nothing changed." if done.revision == before else f"Revision {done.revision}.")


@app.command()
def diff(
    from_: Annotated[int, typer.Argument(metavar="FROM", min=1, help="The number of a revision.")],
    to: Annotated[int | None, typer.Argument(min=1, help="Another; without it the newest.", show_default=False)] = None,
    database_url: DatabaseUrl = None,
    data_dir: DataDir = DEFAULT_DATA_DIR,
) -> None:
    """Print what lies between two revisions, leaf by leaf."""
    with _configuration(database_url, data_dir) as configuration:
        before, after = configuration.tree(from_), configuration.tree(to or configuration.newest().revision)
    _print_differences(list(differences(before, after)))


@app.command()
def rollback(
    revision: Revision,
    comment: Comment = "",
    database_url: DatabaseUrl = None,
    data_dir: DataDir = DEFAULT_DATA_DIR,
) -> None:
    """Make an earlier revision the next one."""
    with _configuration(database_url, data_dir) as configuration:
        done = configuration.roll_back(revision, None, _AUTHOR, comment)
    _out.print(f"Revision {done.revision}.")


@app.command()
def history(
    limit: Annotated[int, typer.Option(min=1, max=1000, help="How many, from the newest.")] = 20,
    database_url: DatabaseUrl = None,
    data_dir: DataDir = DEFAULT_DATA_DIR,
) -> None:
    """List the revisions, the newest first."""
    table = Table("revision", "made", "author", "comment", box=None)
    with _configuration(database_url, data_dir) as configuration:
        for each in configuration.history.list(None, limit):
            made = each.created_at.strftime("%Y-%m-%d %H:%M:%S")
            table.add_row(str(each.revision), made, each.author, Text(each.comment))
    _out.print(table)


@contextmanager
def _configuration(database_url: str | None, data_dir: Path) -> Generator[Configuration[None]]:
    with configured(database_url, data_dir) as configuration:
        try:
            yield configuration
        except InvalidDocument as invalid:
            _print_problems("Problem", invalid.problems)
            raise typer.Exit(1) from None


def _print_differences(found: list[Difference]) -> None:
    for each in found:
        if each.before is not None:
            _out.print(Text(f"- {each.path}: {_short(each.before)}", style="red"))
        if each.after is not None:
            _out.print(Text(f"+ {each.path}: {_short(each.after)}", style="green"))


def _print_problems(word: str, problems: tuple[Problem, ...]) -> None:
    for problem in problems:
        _err.print(f"{word}: {problem}")


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _SHOWN_CHARACTERS else text[: _SHOWN_CHARACTERS - 1] + "…"
