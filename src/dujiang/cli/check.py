"""`dujiang check`: whether a configuration document can be used, and what it asks for in vain."""

import os
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text

from dujiang.config.effect import not_in_effect
from dujiang.config.loader import load
from dujiang.config.problems import MAX_PROBLEMS, InvalidDocument
from dujiang.config.settings import Document
from dujiang.config.warnings import warnings
from dujiang.core.problem import Problem

_console = Console(highlight=False, markup=False, soft_wrap=True)


def check(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The configuration document, YAML or JSON.")],
) -> None:
    """Check a configuration document against this environment: every problem with its path, and exit 1 on any."""
    try:
        document = load(file, os.environ)
    except InvalidDocument as invalid:
        _print_problems(file, invalid.problems)
        raise typer.Exit(1) from None
    _print_section("Warnings", [_line(warning, "yellow") for warning in warnings(document, os.environ)])
    _print_section("Declared, but not in effect in this release", [Text(path) for path in not_in_effect(document)])
    _console.print(Text.assemble(("OK", "bold green"), f"  {file}: {_contents(document)}"))


def _print_problems(file: Path, problems: tuple[Problem, ...]) -> None:
    for problem in problems:
        _console.print(_line(problem, "red"))
    count = len(problems)
    some = "1 problem" if count == 1 else f"{count} problems"
    more = ", and perhaps more" if count >= MAX_PROBLEMS else ""
    _console.print(Text.assemble(("Invalid", "bold red"), f"  {file}: {some}{more}"))


def _print_section(title: str, lines: list[Text]) -> None:
    if lines:
        _console.print(Text(f"{title}:", style="bold"))
    for line in lines:
        _console.print(Text("  ").append_text(line))


def _line(problem: Problem, style: str) -> Text:
    path = (problem.path, style), ": " if problem.path else ""
    return Text.assemble(*path, problem.message)


def _contents(document: Document) -> str:
    counts = {name: len(getattr(document, name)) for name in ("providers", "models", "scenes", "apps", "roles")}
    return ", ".join(f"{count} {name if count != 1 else name.removesuffix('s')}" for name, count in counts.items())
