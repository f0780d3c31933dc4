"""`dujiang serve`: the server."""

import os
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.console import Console

from dujiang.cli.database import DEFAULT_DATA_DIR, DatabaseUrl, DataDir
from dujiang.config.opening import Given
from dujiang.config.problems import InvalidDocument
from dujiang.core.addresses import read_network
from dujiang.core.errors import AppError, Misconfigured
from dujiang.storage.database import sqlite_url
from dujiang.storage.secret_key import VARIABLE as SECRET_KEY
from dujiang.supervisor import ServeSettings, Started, supervise
from dujiang.telemetry.logging import configure_logging

Host = Annotated[str, typer.Option(envvar="DUJIANG_HOST", help="The address to listen on.")]
Port = Annotated[int, typer.Option(envvar="DUJIANG_PORT", min=0, max=65535, help="0 takes a free port.")]
Workers = Annotated[
    int,
    typer.Option(
        envvar="DUJIANG_WORKERS", min=1, max=64, help="Worker processes, one for each core; more than 1 need Redis."
    ),
]
ConfigFile = Annotated[
    Path | None,
    typer.Option(
        envvar="DUJIANG_CONFIG",
        exists=True,
        dir_okay=False,
        help="The configuration document, YAML or JSON: the first revision of an empty database. Without it: the "
        "embedded model and the default roles.",
    ),
]
Apply = Annotated[
    bool, typer.Option("--apply", envvar="DUJIANG_APPLY", help="Make FILE a new revision where it differs.")
]
RedisUrl = Annotated[
    str | None,
    typer.Option(
        envvar="DUJIANG_REDIS_URL",
        help="Redis or Valkey, where processes share limits, budgets and news: `redis://HOST:PORT/DB`. Prefer the "
        "variable: other users of the machine can see a process's arguments.",
    ),
]
AdminKey = Annotated[
    str | None,
    typer.Option(
        envvar="DUJIANG_ADMIN_KEY",
        help="The admin key, 24 characters or more. Without it, one is made at the first start and printed once. "
        "Prefer the variable: other users of the machine can see a process's arguments.",
    ),
]
SecretKey = Annotated[
    str | None,
    typer.Option(
        envvar=SECRET_KEY,
        help="What stored secrets are encrypted with: 32 characters or more. Without it, a file in the data directory. "
        "Prefer the variable: other users of the machine can see a process's arguments.",
    ),
]
DrainSeconds = Annotated[
    float, typer.Option(envvar="DUJIANG_DRAIN_S", min=0, max=3600, help="Seconds that answers get at SIGTERM.")
]
BodyLimit = Annotated[
    int, typer.Option(envvar="DUJIANG_BODY_LIMIT_BYTES", min=1024, help="The largest request body, in bytes.")
]
OpenMetrics = Annotated[
    bool, typer.Option("--open-metrics", envvar="DUJIANG_OPEN_METRICS", help="Serve /metrics without a key.")
]
TrustedProxies = Annotated[
    str | None,
    typer.Option(
        envvar="DUJIANG_TRUSTED_PROXIES",
        help="Addresses and networks, divided by commas, of the proxies before this server: X-Forwarded-For counts "
        "where one of them sent it, and nowhere else.",
        show_default=False,
    ),
]
LogForm = Annotated[
    Literal["text", "json"], typer.Option(envvar="DUJIANG_LOG_FORMAT", help="`text` for people, `json` for machines.")
]

_out = Console(highlight=False, markup=False, soft_wrap=True)
_err = Console(stderr=True, highlight=False, markup=False, soft_wrap=True)


def serve(
    host: Host = "127.0.0.1",
    port: Port = 8000,
    workers: Workers = 1,
    config: ConfigFile = None,
    apply: Apply = False,
    data_dir: DataDir = DEFAULT_DATA_DIR,
    database_url: DatabaseUrl = None,
    redis_url: RedisUrl = None,
    admin_key: AdminKey = None,
    secret_key: SecretKey = None,
    drain_s: DrainSeconds = 30.0,
    body_limit_bytes: BodyLimit = 16 * 1024 * 1024,
    open_metrics: OpenMetrics = False,
    trusted_proxies: TrustedProxies = None,
    log_format: LogForm = "text",
) -> None:
    """Serve the API until SIGTERM or Ctrl-C.

    Every option is also an environment variable. Providers, models, scenes and roles are not options: they are the
    configuration document's, which `dujiang check FILE` explains. Once the database has a revision of it, that is at
    work, and FILE is only compared with it, unless `--apply` makes it the next one.
    """
    configure_logging(log_format)
    try:
        settings = ServeSettings(
            host=host,
            port=port,
            data_dir=data_dir,
            database_url=database_url or sqlite_url(data_dir),
            environ=os.environ if secret_key is None else {**os.environ, SECRET_KEY: secret_key},
            workers=workers,
            redis_url=redis_url or None,
            admin_key=admin_key,
            drain_s=drain_s,
            body_limit_bytes=body_limit_bytes,
            has_open_metrics=open_metrics,
            log_format=log_format,
            trusted_proxies=_networks(trusted_proxies or ""),
        )
        supervise(settings, _given(config, apply), _announce)
    except InvalidDocument as invalid:
        for problem in invalid.problems:
            _err.print(f"  {problem}")
        _err.print(f"{config or 'default.yaml'} cannot be used; mend it with `dujiang check FILE`.")
        raise typer.Exit(1) from None
    except AppError as error:
        _err.print(f"Error: {error.message}")
        raise typer.Exit(1) from None


def _given(config: Path | None, is_applied: bool) -> Given | None:
    if config is None:
        if is_applied:
            raise Misconfigured("`--apply` needs `--config FILE`.")
        return None
    return Given(config.read_bytes(), "now" if is_applied else "first")


def _networks(text: str) -> tuple[str, ...]:
    """Raises `Misconfigured` for what is no network."""
    found = [each.strip() for each in text.split(",") if each.strip()]
    try:
        return tuple(str(read_network(each)) for each in found)
    except ValueError as error:
        raise Misconfigured(f"DUJIANG_TRUSTED_PROXIES has what is no network: {error}.") from None


def _announce(started: Started) -> None:
    _out.print(f"Dujiang serves on {started.url}  (documentation: {started.url}/docs)")
    if started.admin_key is not None:
        _out.print("Admin key, shown this once and stored only as a hash:")
        _out.print(f"  {started.admin_key}")
    for sentence in started.missing_models:
        _out.print(f"Note: {sentence}")
    if started.not_in_effect:
        _out.print(f"Declared, but not built yet and so not in effect: {', '.join(started.not_in_effect)}")
