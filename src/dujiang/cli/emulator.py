"""`dujiang emulator`: a scriptable upstream for rehearsals and tests."""

from pathlib import Path
from typing import Annotated

import typer

from dujiang.emulator.behaviour import BadBehaviour
from dujiang.emulator.script import BadScript
from dujiang.emulator.server import run


def emulator(
    port: Annotated[int, typer.Option(help="0 takes a free port.", min=0, max=65535)],
    host: Annotated[str, typer.Option(help="The address to listen on.")] = "127.0.0.1",
    script: Annotated[
        Path | None,
        typer.Option(help="A YAML or JSON file that maps models to behaviours, as docs/emulator.md lists them."),
    ] = None,
) -> None:
    """Answer in a vendor's place, in OpenAI's and ERNIE's formats: good or broken as the script says, all counted."""
    try:
        run(host, port, script, typer.echo)
    except (BadBehaviour, BadScript, OSError) as problem:
        typer.echo(str(problem), err=True)
        raise typer.Exit(1) from None
