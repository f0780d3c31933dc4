"""A worker process: serves the API on a socket it inherited, until it is told to stop or its parent is gone.

Our standard input is a socket to the parent, who writes one line of JSON (`Orders`) on it and keeps it open. Then it is
the line (`siblings.line`) on which we say that we are ready, and on which workers ask each other. Its end means that
the parent died: then we drain as for SIGTERM.
"""

import asyncio
import gc
import logging
import os
import signal
import socket
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from time import monotonic, sleep

import msgspec
import uvloop

from dujiang.app import Application
from dujiang.chat.troubles import follow_troubles
from dujiang.config.environment import expand_here
from dujiang.config.follow import follow_config
from dujiang.config.opening import compile_nothing, open_configuration
from dujiang.core.addresses import read_network
from dujiang.core.errors import ShuttingDown
from dujiang.core.ids import new_id
from dujiang.identity.accounts import Accounts
from dujiang.identity.corrections import follow_corrections
from dujiang.identity.follow import follow_keys
from dujiang.identity.foresight import Foresight
from dujiang.identity.key_ring import load_keys
from dujiang.identity.ledger import Ledger
from dujiang.identity.users import Users, changed_users
from dujiang.orders import Orders
from dujiang.probing import probe_targets
from dujiang.records.journal import Journal
from dujiang.records.places import JOURNAL
from dujiang.records.segments import backlog
from dujiang.records.settings import RecordSettings
from dujiang.records.stores import open_records
from dujiang.records.turning import turn_over
from dujiang.resilience.events import Fleet, Herald
from dujiang.runtime import CONFIG, EVENTS, KEYS, TARGETS, Backends, Edge, Runtime
from dujiang.server.listener import Server
from dujiang.siblings.line import Line, ToWorker
from dujiang.siblings.siblings import Siblings
from dujiang.snapshot import Compiler
from dujiang.storage.database import Database, connect
from dujiang.storage.follow import follow_state
from dujiang.storage.follow_holds import follow_holds
from dujiang.storage.holds import read_holds
from dujiang.storage.news import News
from dujiang.storage.opening import open_store
from dujiang.storage.secret_key import open_keychain
from dujiang.storage.secrets import SecretStore
from dujiang.storage.store import Store
from dujiang.telemetry.logging import configure_logging
from dujiang.telemetry.metrics import Metrics

_ABORTED_S = 5.0
_POLL_S = 0.02
_LEDGER_S = 5.0
GC_THRESHOLDS = (50_000, 20, 20)
"""A call leaves no cycles (a test holds that); with Python's own thresholds the collector took a fifth of its time."""

SWITCH_S = 0.001
"""How long the loop waits for a thread that computes, like the one that takes up a large document. Python's own 5 ms
would be added to every call at every turn of the loop meanwhile.
"""

_log = logging.getLogger(__name__)


def main() -> None:
    """Read the orders, serve, drain, exit 0."""
    orders = msgspec.json.decode(sys.stdin.buffer.readline(), type=Orders)
    configure_logging(orders.log_format)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    sys.setswitchinterval(SWITCH_S)
    with connect(orders.database_url) as database, asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(database, orders))


def open_runtime(orders: Orders, database: Database, store: Store) -> Runtime:
    """Everything the edge needs, compiled and loaded."""
    database.require_schema()
    data_dir = Path(orders.data_dir)
    secrets = SecretStore(database, open_keychain(data_dir, os.environ))
    metrics = Metrics(orders.started_at)
    users = Users()
    users.take(*changed_users(database, 0))
    settings = open_configuration(database, secrets, compile_nothing).load().checked.document.records
    journal = _open_journal(data_dir, settings, orders.workers)
    herald = Herald(new_id(), partial(store.publish, EVENTS))
    compiler = Compiler(
        expand=expand_here,
        reveal=secrets.reveal,
        embedded=orders.embedded,
        metrics=metrics,
        journal=journal,
        store=store,
        accounts=Accounts(store, Ledger(database), Foresight()),
        users=users,
        fleet=Fleet(orders.workers, herald),
    )
    configuration = open_configuration(database, secrets, compiler)
    configuration.load()
    if orders.redis_url is None:  # elsewhere the accounts outlive a worker, and others go on writing
        _await_ledger(data_dir / JOURNAL)
    runtime = Runtime(
        configuration,
        load_keys(database),
        metrics,
        backends=Backends(database, store, journal, open_records(orders.database_url, data_dir)),
        herald=herald,
        users=users,
        siblings=Siblings(orders.worker, orders.workers),
        edge=Edge(
            orders.has_open_metrics,
            orders.body_limit_bytes,
            tuple(map(read_network, orders.trusted_proxies)),
        ),
    )
    runtime.follow_holds(read_holds(database))
    return runtime


def _await_ledger(journal: Path) -> None:
    """What a worker before this one spent is in the ledger when its calls are drained: budgets begin with that."""
    until = monotonic() + _LEDGER_S
    while backlog(journal).oldest_s is not None:
        if monotonic() > until:
            _log.warning("calls of an earlier worker are not stored yet: budgets begin without what they cost")
            return
        sleep(_POLL_S)


def _open_journal(data_dir: Path, settings: RecordSettings, workers: int) -> Journal:
    return Journal(
        data_dir / JOURNAL,
        limit_bytes=settings.journal_limit_bytes,
        on_full=settings.when_full,
        durability=settings.durability,
        fsync_ms=settings.fsync_ms,
        writers=workers,
    )


async def serve(database: Database, orders: Orders) -> None:
    """Serve until SIGTERM or the parent's end, then drain."""
    runtime = open_runtime(orders, database, open_store(orders.redis_url))
    loop = asyncio.get_running_loop()
    stopping = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, stopping.set)
    await _join(loop, runtime.siblings, stopping.set)
    server = Server(Application(runtime), socket.socket(fileno=orders.listener))
    await server.start()
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)
    runtime.siblings.tell_ready()
    followers = _follow(runtime, database)
    await stopping.wait()
    for follower in followers:
        follower.cancel()
    await drain(runtime, server, orders.drain_s)
    await runtime.store.close()
    runtime.close()


def _follow(runtime: Runtime, database: Database) -> tuple[asyncio.Task[None], ...]:
    """Begin to take up what other processes do."""
    of_keys, of_config, of_targets = News(), News(), News()
    runtime.store.subscribe(KEYS, of_keys.tell)
    runtime.store.subscribe(CONFIG, of_config.tell)
    runtime.store.subscribe(TARGETS, of_targets.tell)
    runtime.store.subscribe(TARGETS, runtime.heard_of_targets)
    runtime.store.subscribe(EVENTS, runtime.heard_of_event)
    holds = follow_holds(database, lambda: runtime.holds, runtime.follow_holds, of_targets)
    keys = follow_keys(database, lambda: runtime.keys, runtime.users, runtime.replace_keys, of_keys)
    troubles = follow_troubles(lambda: runtime.snapshot.models, runtime.siblings.tell_troubles)
    return (
        asyncio.create_task(keys, name="follow keys"),
        asyncio.create_task(troubles, name="tell what is wrong with targets"),
        asyncio.create_task(follow_config(runtime.follow_config, of_config), name="follow the configuration"),
        asyncio.create_task(follow_corrections(runtime.ledger, runtime.store), name="follow corrections of budgets"),
        asyncio.create_task(probe_targets(runtime), name="probe ill targets"),
        asyncio.create_task(holds, name="follow what operators say of targets"),
        asyncio.create_task(turn_over(runtime.journal), name="turn the journal over"),
        asyncio.create_task(follow_state(database, runtime.replace_database_state), name="follow the database"),
    )


async def drain(runtime: Runtime, server: Server, drain_s: float) -> None:
    """Refuse what is new, let answers finish for `drain_s`, then end each with an error in its own format."""
    runtime.is_draining = True
    server.stop_accepting()
    await asyncio.sleep(_POLL_S)  # what was accepted a moment ago becomes a call, to be refused and recorded
    if not await _is_idle(runtime, drain_s):
        _log.warning("ending %d answers that did not finish within %g s", len(runtime.calls), drain_s)
        runtime.calls.end_all(ShuttingDown("The server is shutting down; try again.", retry_after_s=1))
        await _is_idle(runtime, _ABORTED_S)
    await server.close()


async def _is_idle(runtime: Runtime, timeout_s: float) -> bool:
    loop = asyncio.get_running_loop()
    end = loop.time() + timeout_s
    while len(runtime.calls):
        if loop.time() >= end:
            return False
        await asyncio.sleep(_POLL_S)
    return True


async def _join(loop: asyncio.AbstractEventLoop, siblings: Siblings, on_end: Callable[[], None]) -> None:
    """Take up the line to the parent."""
    line = Line(ToWorker, siblings.received, on_end)
    await loop.create_unix_connection(lambda: line, sock=socket.socket(fileno=os.dup(sys.stdin.fileno())))
    siblings.connect(line)


if __name__ == "__main__":
    main()
