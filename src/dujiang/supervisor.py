"""The parent process: prepares the database and the socket, runs what must exist once, and keeps the worker running."""

import asyncio
import fcntl
import logging
import os
import secrets
import signal
import socket
import sys
import time
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncGenerator, Callable, Generator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from datetime import UTC, datetime
from pathlib import Path

import msgspec
from msgspec import Struct

from dujiang.config.alerts import Receivers
from dujiang.config.effect import not_in_effect
from dujiang.config.opening import Given, begin, compile_nothing, open_configuration
from dujiang.config.settings import Document
from dujiang.core.errors import AppError, Misconfigured
from dujiang.identity.admin_key import ensure_admin
from dujiang.identity.crossings import charging
from dujiang.identity.ledger import Ledger
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
from dujiang.records.settings import RecordSettings
from dujiang.records.stores import Store, open_store
from dujiang.storage.database import Database, connect
from dujiang.storage.secret_key import make_key_file, open_keychain
from dujiang.storage.secrets import SecretStore
from dujiang.telemetry.alerts import Alerts, Receiver
from dujiang.telemetry.logging import LogFormat

_RESTART_MIN_S, _RESTART_MAX_S = 0.2, 10.0
_START_S = 60.0
_FORGET_S = 3600.0
_DAY_S = 86_400
_STOP_GRACE_S = 10.0

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
    admin_key: str | None = None
    drain_s: float = 30.0
    body_limit_bytes: int = 16 * 1024 * 1024
    has_open_metrics: bool = False
    log_format: LogFormat = "text"


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
    with only_server_of(settings.data_dir), _bound(settings.host, settings.port) as listener:
        with connect(settings.database_url) as database:
            prepare(database)
            admin_key = ensure_admin(database, settings.admin_key)
            _prepare_secret_key(settings.data_dir, settings.environ)
            secrets = SecretStore(database, open_keychain(settings.data_dir, settings.environ))
            document = begin(open_configuration(database, secrets, compile_nothing, settings.environ), given)
        asyncio.run(_serve(settings, document, listener, admin_key, on_started))


def _prepare_secret_key(data_dir: Path, environ: Mapping[str, str]) -> None:
    """Leave a usable key of stored secrets. Raises `Misconfigured`, saying what is wrong with the one that is given."""
    made = make_key_file(data_dir, environ)
    if made is not None:
        _log.info("made %s, the key of stored secrets: without a copy of it they are lost with this directory", made)
    open_keychain(data_dir, environ)


async def _serve(
    settings: ServeSettings,
    document: Document,
    listener: socket.socket,
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
        drain = Drain(settings.data_dir / JOURNAL, ChargingSink(charging(ledger, alerts.send), MaskingSink(store)))
        drain.start()
        stack.callback(_finish, drain)
        forgetting = asyncio.create_task(_forget(store, ledger, settings, document.records), name="forget old records")
        stack.callback(forgetting.cancel)
        embedded, missing = await _start_embedded(document, stack)
        orders = Orders(
            listener=listener.fileno(),
            database_url=settings.database_url,
            data_dir=str(settings.data_dir),
            embedded=embedded,
            drain_s=settings.drain_s,
            body_limit_bytes=settings.body_limit_bytes,
            has_open_metrics=settings.has_open_metrics,
            log_format=settings.log_format,
        )
        worker = Worker(orders, settings.environ)
        await worker.start()
        host, port = listener.getsockname()[:2]
        shown = f"[{host}]" if ":" in host else host
        on_started(Started(f"http://{shown}:{port}", admin_key, missing, not_in_effect(document)))
        keeper = asyncio.create_task(worker.keep(), name="keep the worker running")
        try:
            stopped = asyncio.create_task(stopping.wait(), name="wait for a signal")
            await asyncio.wait((stopped, keeper), return_when=asyncio.FIRST_COMPLETED)
            stopped.cancel()
        finally:
            keeper.cancel()
            listener.close()
            await worker.stop()


class Worker:
    """The worker process: started, restarted with growing delay when it dies, stopped by SIGTERM."""

    def __init__(self, orders: Orders, environ: Mapping[str, str]) -> None:
        self._orders = orders
        self._environ = environ
        self._process: Process | None = None

    async def start(self) -> None:
        """Start it, and wait until it accepts calls. Raises `Misconfigured` when it dies first."""
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "dujiang.worker",
            stdin=PIPE,
            stdout=PIPE,
            env=self._environ,
            pass_fds=(self._orders.listener,),
            start_new_session=True,
        )
        self._process = process
        if process.stdin is None or process.stdout is None:
            raise Misconfigured("The worker process has no pipes.")
        process.stdin.write(msgspec.json.encode(self._orders) + b"\n")
        await process.stdin.drain()
        async with asyncio.timeout(_START_S):
            line = await process.stdout.readline()
        if line != b"ready\n":
            raise Misconfigured("The worker process did not start; its own message is above.")

    async def keep(self) -> None:
        """Restart the worker whenever it dies."""
        delay_s = _RESTART_MIN_S
        while True:
            if self._process is not None:
                status = await self._process.wait()
                _log.error("the worker died with status %d; starting another in %g s", status, delay_s)
            await asyncio.sleep(delay_s)
            try:
                await self.start()
                delay_s = _RESTART_MIN_S
            except (Misconfigured, TimeoutError, OSError) as error:
                _log.error("the worker could not be started: %s", error)
                delay_s = min(delay_s * 2, _RESTART_MAX_S)

    async def stop(self) -> None:
        """Let it drain; kill it if it takes longer than it was given."""
        process = self._process
        if process is None or process.returncode is not None:
            return
        process.send_signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(self._orders.drain_s + _STOP_GRACE_S):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()


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


@contextmanager
def _bound(host: str, port: int) -> Generator[socket.socket]:
    """A listening socket. Raises `Misconfigured` when the address cannot be had."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind, protocol)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
    except OSError as error:
        raise Misconfigured(f"Cannot listen on {host}:{port} ({error.strerror}): give another `--port`.") from error
    with listener:
        listener.set_inheritable(True)
        yield listener
