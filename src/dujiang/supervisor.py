"""The parent process: prepares the database and the address, runs what must exist once, and lets workers serve."""

import asyncio
import fcntl
import logging
import os
import secrets
import signal
import time
from collections.abc import AsyncGenerator, Callable, Generator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from msgspec import Struct

from dujiang.config.alerts import Receivers
from dujiang.config.effect import not_in_effect
from dujiang.config.opening import Given, begin, compile_nothing, open_configuration
from dujiang.config.settings import Document
from dujiang.core.errors import AppError, Misconfigured
from dujiang.identity.admin_key import ensure_admin
from dujiang.identity.crossings import charging
from dujiang.identity.ledger import Ledger
from dujiang.identity.users import note_seen
from dujiang.migrations import prepare
from dujiang.orders import Orders
from dujiang.providers.embedded.cache import cache_dir, explain_missing, locate
from dujiang.providers.embedded.process import EmbeddedModel, free_port
from dujiang.providers.local import Embedded
from dujiang.providers.webhook import post
from dujiang.records.charging_sink import ChargingSink
from dujiang.records.drain import Drain
from dujiang.records.leftovers import forget_leftovers
from dujiang.records.masking_sink import MaskingSink
from dujiang.records.places import JOURNAL
from dujiang.records.retention import drop_before, drop_content_before, first_kept
from dujiang.records.seen_sink import SeenSink
from dujiang.records.settings import RecordSettings
from dujiang.records.stores import Store, open_store
from dujiang.server.address import Address, bound
from dujiang.storage.database import Database, connect
from dujiang.storage.secret_key import make_key_file, open_keychain
from dujiang.storage.secrets import SecretStore
from dujiang.telemetry.alerts import Alerts, Receiver
from dujiang.telemetry.logging import LogFormat
from dujiang.telemetry.troubles import Troubles
from dujiang.workers import working

_FORGET_S = 3600.0
_DAY_S = 86_400

_ALONE = (
    "Several workers need shared state, or every limit and budget would count once for each of them: give "
    "`DUJIANG_REDIS_URL` (or `--redis-url`), or use `--workers 1`."
)

_log = logging.getLogger(__name__)


class ServeSettings(Struct, frozen=True):
    """How `dujiang serve` was told to run. `environ` are the variables of this process and its workers, where the key
    of stored secrets is, too.
    """

    host: str
    port: int
    data_dir: Path
    database_url: str
    environ: Mapping[str, str]
    workers: int = 1
    redis_url: str | None = None
    admin_key: str | None = None
    drain_s: float = 30.0
    body_limit_bytes: int = 16 * 1024 * 1024
    has_open_metrics: bool = False
    log_format: LogFormat = "text"
    trusted_proxies: tuple[str, ...] = ()


class Started(Struct, frozen=True):
    """What to tell the operator once calls are accepted. `admin_key` is there only when it was made just now;
    `not_in_effect` are the paths of what the document declares and this release does not act on.
    """

    url: str
    admin_key: str | None
    missing_models: tuple[str, ...]
    not_in_effect: tuple[str, ...]


def supervise(settings: ServeSettings, given: Given | None, on_started: Callable[[Started], None]) -> None:
    """Serve until SIGTERM or SIGINT. Raises `InvalidDocument` for a `given` document that cannot be used, and
    `Misconfigured` when it cannot start, saying what to do.
    """
    _require_shared_state(settings)
    is_shared = settings.workers > 1
    with only_server_of(settings.data_dir), bound(settings.host, settings.port, is_shared=is_shared) as address:
        with connect(settings.database_url) as database:
            prepare(database)
            admin_key = ensure_admin(database, settings.admin_key)
            _prepare_secret_key(settings.data_dir, settings.environ)
            secrets = SecretStore(database, open_keychain(settings.data_dir, settings.environ))
            document = begin(open_configuration(database, secrets, compile_nothing, settings.environ), given)
        asyncio.run(_serve(settings, document, address, admin_key, on_started))


def _require_shared_state(settings: ServeSettings) -> None:
    """Raises `Misconfigured` where it is missing, or its address is none. A server that is away is no error."""
    if settings.redis_url is not None:
        from dujiang.storage.redis.address import read_address

        read_address(settings.redis_url)
    elif settings.workers > 1:
        raise Misconfigured(_ALONE)


def _prepare_secret_key(data_dir: Path, environ: Mapping[str, str]) -> None:
    """Leave a usable key of stored secrets. Raises `Misconfigured`, saying what is wrong with the one that is given."""
    made = make_key_file(data_dir, environ)
    if made is not None:
        _log.info("made %s, the key of stored secrets: without a copy of it they are lost with this directory", made)
    open_keychain(data_dir, environ)


async def _serve(
    settings: ServeSettings,
    document: Document,
    address: Address,
    admin_key: str | None,
    on_started: Callable[[Started], None],
) -> None:
    loop = asyncio.get_running_loop()
    stopping = asyncio.Event()
    for signum in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(signum, stopping.set)
    async with AsyncExitStack() as stack:
        store = open_store(settings.database_url, settings.data_dir)
        stack.callback(store.close)
        await asyncio.to_thread(store.upgrade, stopping.is_set)
        database = stack.enter_context(connect(settings.database_url))
        ledger = Ledger(database)
        alerts = await stack.enter_async_context(_alerting(settings, database))
        seeing = SeenSink(MaskingSink(store), partial(note_seen, database))
        drain = Drain(settings.data_dir / JOURNAL, ChargingSink(charging(ledger, alerts.send), seeing))
        drain.start()
        stack.callback(_finish, drain)
        forgetting = asyncio.create_task(_forget(store, ledger, settings, document.records), name="forget old records")
        stack.callback(forgetting.cancel)
        embedded, missing = await _start_embedded(document, stack)
        orders, troubles = _orders(settings, embedded), Troubles(alerts.send)
        async with working(orders, settings.environ, address, troubles) as keepers:
            on_started(Started(address.url, admin_key, missing, not_in_effect(document)))
            stopped = asyncio.create_task(stopping.wait(), name="wait for a signal")
            await asyncio.wait((stopped, *keepers), return_when=asyncio.FIRST_COMPLETED)
            stopped.cancel()


def _orders(settings: ServeSettings, embedded: dict[str, Embedded]) -> Orders:
    """What every worker is told; its number and its socket are filled in when it is started."""
    return Orders(
        listener=-1,
        database_url=settings.database_url,
        redis_url=settings.redis_url,
        data_dir=str(settings.data_dir),
        embedded=embedded,
        drain_s=settings.drain_s,
        body_limit_bytes=settings.body_limit_bytes,
        has_open_metrics=settings.has_open_metrics,
        log_format=settings.log_format,
        worker=0,
        workers=settings.workers,
        started_at=time.monotonic(),
        trusted_proxies=settings.trusted_proxies,
    )


async def _start_embedded(document: Document, stack: AsyncExitStack) -> tuple[dict[str, Embedded], tuple[str, ...]]:
    """Start a child for each provider of kind `local` whose model is on this machine."""
    found: dict[str, Embedded] = {}
    missing: list[str] = []
    for name, provider in document.providers.items():
        if provider.kind != "local":
            continue
        model_file = provider.model_file or "default"
        path = locate(model_file, cache_dir(os.environ))
        if path is None:
            missing.append(explain_missing(model_file))
            continue
        embedded = Embedded(free_port(), secrets.token_urlsafe(32), path.stem)
        child = EmbeddedModel(path, embedded.port, embedded.api_key)
        await child.start()
        stack.push_async_callback(child.stop)
        found[name] = embedded
    return found, tuple(missing)


@asynccontextmanager
async def _alerting(settings: ServeSettings, database: Database) -> AsyncGenerator[Alerts]:
    """Alerts on their way to whom the newest revision names."""
    secrets = SecretStore(database, open_keychain(settings.data_dir, settings.environ))
    receivers = Receivers(database, secrets.reveal, settings.environ)

    async def find() -> Receiver | None:
        return await asyncio.to_thread(receivers.newest)

    alerts = Alerts(find, post)
    async with alerts.delivering():
        yield alerts


def _finish(drain: Drain) -> None:
    """Carry what the journal still has to where it is kept."""
    if not drain.stop(final=True):
        _log.warning("some records are still in the journal; the next start carries them on")


async def _forget(store: Store, ledger: Ledger, serving: ServeSettings, settings: RecordSettings) -> None:
    """Drop what is older than the document keeps it: at the start, and every hour."""
    while True:
        now_ms = int(time.time() * 1000)
        kept_s = settings.content_retention_days * _DAY_S
        try:
            await asyncio.to_thread(drop_before, store, first_kept(now_ms, settings.retention_days))
            await asyncio.to_thread(drop_content_before, store, first_kept(now_ms, settings.content_retention_days))
            await asyncio.to_thread(forget_leftovers, serving.data_dir / JOURNAL, now_ms / 1000 - kept_s)
            await asyncio.to_thread(ledger.forget, datetime.now(UTC))
        except Exception as error:  # noqa: BLE001 whatever the database or the disk raises: it is tried again
            _log.error("old records could not be dropped, the next hour tries again: %s", type(error).__name__)
        await asyncio.sleep(_FORGET_S)
        settings = await asyncio.to_thread(_newest_settings, serving, settings)


def _newest_settings(serving: ServeSettings, known: RecordSettings) -> RecordSettings:
    """What the newest revision says of records; the known settings while it cannot be read."""
    try:
        with connect(serving.database_url) as database:
            secrets = SecretStore(database, open_keychain(serving.data_dir, serving.environ))
            configuration = open_configuration(database, secrets, compile_nothing, serving.environ)
            return configuration.load().checked.document.records
    except AppError as error:
        _log.warning("the retention of records cannot be read, the known one stays: %s", error.message)
        return known


@contextmanager
def only_server_of(data_dir: Path) -> Generator[None]:
    """Hold the data directory. Raises `Misconfigured` when another server has it."""
    data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    with (data_dir / "server.lock").open("w", encoding="ascii") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise Misconfigured(f"Another server uses {data_dir}: stop it, or give `--data-dir`.") from error
        yield
