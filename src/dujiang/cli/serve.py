"""`dujiang serve`: the server."""

import importlib.resources
import os
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from dujiang.cli.database import DEFAULT_DATA_DIR, DatabaseUrl, DataDir
from dujiang.config.loader import read_document
from dujiang.config.problems import InvalidDocument
from dujiang.core.errors import AppError, NotBuilt
from dujiang.storage.database import sqlite_url
from dujiang.supervisor import ServeSettings, Started, supervise
from dujiang.telemetry.logging import LogFormat, configure_logging

_MIN_SECRET_CHARACTERS = 32

_console = Console(stderr=True, highlight=False, markup=False, soft_wrap=True)


def serve(
    host: Annotated[str, typer.Option(envvar="DUJIANG_HOST", help="The address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(envvar="DUJIANG_PORT", min=0, max=65535, help="0 takes a free port.")] = 8000,
    workers: Annotated[
        int, typer.Option(envvar="DUJIANG_WORKERS", min=1, help="Worker processes; more than one needs Redis.")
    ] = 1,
    config: Annotated[
        Path | None,
        typer.Option(
            envvar="DUJIANG_CONFIG",
            exists=True,
            dir_okay=False,
            help="The configuration document (YAML or JSON). Without it: the embedded model and the default roles.",
        ),
    ] = None,
    data_dir: DataDir = DEFAULT_DATA_DIR,
    database_url: DatabaseUrl = None,
    redis_url: Annotated[
        str | None, typer.Option(envvar="DUJIANG_REDIS_URL", help="Shared state of several processes (not built yet).")
    ] = None,
    admin_key: Annotated[
        str | None,
        typer.Option(
            envvar="DUJIANG_ADMIN_KEY",
            help="The admin key, 24 characters or more. Without it, one is made at the first start and printed once. "
            "Prefer the variable: other users can see the arguments of a process.",
        ),
    ] = None,
    secret_key: Annotated[
        str | None,
        typer.Option(envvar="DUJIANG_SECRET_KEY", help="What stored secrets are encrypted with, 32 characters or more."),
    ] = None,
    drain_s: Annotated[
        float, typer.Option(envvar="DUJIANG_DRAIN_S", min=0, max=3600, help="Seconds that answers get at SIGTERM.")
    ] = 30.0,
    body_limit_bytes: Annotated[
        int, typer.Option(envvar="DUJIANG_BODY_LIMIT_BYTES", min=1024, help="The largest request body.")
    ] = 16 * 1024 * 1024,
    open_metrics: Annotated[
        bool, typer.Option("--open-metrics", envvar="DUJIANG_OPEN_METRICS", help="Serve /metrics without a key.")
    ] = False,
    log_format: Annotated[
        str, typer.Option(envvar="DUJIANG_LOG_FORMAT", help="`text` for people, `json` for machines.")
    ] = "text",
) -> None:
    """Serve the API until SIGTERM or Ctrl-C.

    Every option is also an environment variable. Providers, models, scenes and roles are not options: they are the
    configuration document's, which `dujiang check FILE` explains.
    """
    form: LogFormat = "json" if log_format == "json" else "text"
    configure_logging(form)
    try:
        if log_format not in ("text", "json"):
            raise NotBuilt(f"There is no log format `{log_format}`: use text or json.")
        _refuse_unbuilt(workers, redis_url, secret_key)
        text = config.read_bytes() if config else importlib.resources.files("dujiang").joinpath("default.yaml").read_bytes()
        document = read_document(text, environ=os.environ)
        settings = ServeSettings(
            host=host,
            port=port,
            data_dir=data_dir,
            document=text,
            database_url=database_url or sqlite_url(data_dir),
            admin_key=admin_key or None,
            drain_s=drain_s,
            body_limit_bytes=body_limit_bytes,
            has_open_metrics=open_metrics,
            log_format=form,
        )
        supervise(settings, document, _announce)
    except InvalidDocument as invalid:
        for problem in invalid.problems:
            _console.print(f"  {problem}")
        _console.print(f"{config or 'default.yaml'} cannot be used; `dujiang check FILE` explains it.")
        raise typer.Exit(1) from None
    except AppError as error:
        _console.print(f"Error: {error.message}")
        raise typer.Exit(1) from None


def _refuse_unbuilt(workers: int, redis_url: str | None, secret_key: str | None) -> None:
    if redis_url:
        raise NotBuilt("Redis is not built yet: unset DUJIANG_REDIS_URL.")
    if workers > 1:
        raise NotBuilt("More than one worker needs Redis, which is not built yet: use `--workers 1`.")
    if secret_key is not None and len(secret_key) < _MIN_SECRET_CHARACTERS:
        raise NotBuilt(f"DUJIANG_SECRET_KEY needs {_MIN_SECRET_CHARACTERS} characters or more; `openssl rand -hex 32` makes one.")


def _announce(started: Started) -> None:
    _console.print(f"Dujiang serves on {started.url}  (documentation: {started.url}/docs)")
    if started.admin_key is not None:
        _console.print("Admin key, shown this once and stored only as a hash:")
        _console.print(f"  {started.admin_key}")
    for sentence in started.missing_models:
        _console.print(f"Note: {sentence}")
