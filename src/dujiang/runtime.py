"""The composition root of a worker: what the edge works with, and how one revision takes the place of another."""

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from time import monotonic, time
from typing import TypeVar

import msgspec
from msgspec import Struct

from dujiang.chat.tasks import OpenCalls
from dujiang.config.apart import Readers
from dujiang.config.policy import policy_of
from dujiang.config.service import Configuration
from dujiang.core.addresses import Network
from dujiang.core.call import Caller, Rights
from dujiang.core.collector import uncollected
from dujiang.core.errors import LimitExceeded
from dujiang.identity.authenticate import authenticate
from dujiang.identity.follow import renewed
from dujiang.identity.key_ring import KeyRing
from dujiang.identity.keys import Writer
from dujiang.identity.ledger import Ledger
from dujiang.identity.standings import Standings
from dujiang.identity.users import Users
from dujiang.records.journal import Journal
from dujiang.records.service import Records
from dujiang.resilience.events import Herald, take_up
from dujiang.siblings.siblings import Siblings
from dujiang.snapshot import Snapshot
from dujiang.storage.database import Database, answering
from dujiang.storage.holds import Holds, Selection, State, hold, release
from dujiang.storage.store import Store
from dujiang.telemetry.metrics import ConfigCounts, JournalCounts, Metrics

BODY_LIMIT_BYTES = 16 * 1024 * 1024
MAX_CONFIGURING = 32
"""Questions to, and changes of, the configuration that wait for each other."""

CONFIG, KEYS, TARGETS, EVENTS = "config", "keys", "targets", "events"
"""The channels on which processes tell each other that there is a new revision, that keys were written, that an
operator spoke of targets, and what happened to some.
"""

T = TypeVar("T")

_log = logging.getLogger(__name__)


class Edge(Struct, frozen=True):
    """How the edge was told to behave. What proxies in `trusted_proxies` say of whom they speak for is believed."""

    has_open_metrics: bool = False
    body_limit_bytes: int = BODY_LIMIT_BYTES
    trusted_proxies: tuple[Network, ...] = ()


class Backends(Struct, frozen=True):
    """Where what outlives a call is kept: for good, and for all processes."""

    database: Database
    store: Store
    journal: Journal
    records: Records


class Runtime:
    """What the edge works with: the current snapshot, the keys, the counters, and whether we are shutting down."""

    def __init__(
        self,
        configuration: Configuration[Snapshot],
        keys: KeyRing,
        metrics: Metrics,
        *,
        backends: Backends,
        herald: Herald,
        users: Users | None = None,
        siblings: Siblings | None = None,
        edge: Edge = Edge(),
    ) -> None:
        self.snapshot = configuration.live.snapshot
        self.holds = Holds()
        self.snapshot.begin(self.holds)
        self.config_trouble = configuration.trouble
        self._configuration = configuration
        self._configuring = ThreadPoolExecutor(1, "configure")
        self.readers = Readers()
        self._configurations = 0
        self._reloads = 0
        self.metrics = metrics
        self.has_open_metrics = edge.has_open_metrics
        self.started_at_s = int(time() - metrics.uptime_s)
        self.database = backends.database
        self.store = backends.store
        self.siblings = siblings or Siblings()
        self.journal = backends.journal
        self.records = backends.records
        self.herald = herald
        self.ledger = Ledger(backends.database)
        self.standings = Standings(self.ledger, self.store)
        self.calls = OpenCalls()
        self.is_draining = False
        self.database_state = "ok"
        self.body_limit_bytes = edge.body_limit_bytes
        self._keys = keys
        self.users = users if users is not None else Users()
        self.trusted_proxies = edge.trusted_proxies

    def authenticate(self, header: bytes | None) -> Caller:
        """Who holds the key of an `Authorization` header. Raises `Unauthenticated`."""
        return authenticate(self._keys, header)

    @property
    def keys(self) -> KeyRing:
        return self._keys

    def replace_keys(self, keys: KeyRing) -> None:
        """From now on these keys are the valid ones, unless later ones are at work already."""
        if keys.mark >= self._keys.mark:
            self._keys = keys

    async def write_identity(self, caller: Caller, work: Callable[[Database, Writer], T]) -> T:
        """Let a caller write keys or users, judged by the newest revision, and serve by what it left. Other processes
        hear of it.

        Raises as `configure`, and what `work` does.
        """

        def judged(configuration: Configuration[Snapshot]) -> T:
            policy = policy_of(configuration.newest().checked.document)
            return work(self.database, Writer(caller.key_id, policy))

        done = await self.configure(judged)
        with answering():
            self.replace_keys(await renewed(self.database, self._keys, self.users))
        self.store.publish(KEYS, b"")
        return done

    async def hold(self, caller: Caller, of: Selection, state: State, reason: str) -> None:
        """Take targets out, here and in other processes. Raises as `configure`."""
        self.follow_holds(await self.configure(lambda _: hold(self.database, of, state, reason, caller.key_id)))
        self.store.publish(TARGETS, b"")

    async def release(self, caller: Caller, of: Selection) -> None:
        """Put targets back and take them for well, here and in other processes. Raises as `configure`."""
        self.follow_holds(await self.configure(lambda _: release(self.database, of, caller.key_id)))
        self.forget(of)
        self.store.publish(TARGETS, msgspec.msgpack.encode(of))

    def follow_holds(self, holds: Holds) -> None:
        """From now on these targets are out, and no others, unless later words are followed already."""
        if holds.mark >= self.holds.mark:
            self.holds = holds
            for model in self.snapshot.models.values():
                model.hold(holds)

    def heard_of_targets(self, message: bytes) -> None:
        """Another process was told of targets. Nothing in a message that is no selection is believed."""
        if message:
            try:
                self.forget(msgspec.msgpack.decode(message, type=Selection))
            except msgspec.MsgspecError:
                _log.warning("news of targets that cannot be read")

    def heard_of_event(self, message: bytes) -> None:
        """Some process saw something happen to a target."""
        event = self.herald.heard(message)
        if event is not None:
            take_up(event, self.snapshot.models, monotonic())

    def admit_waiting(self) -> None:
        """Some target may be asked again: whoever waits for one may."""
        for model in self.snapshot.models.values():
            model.gate.admit()

    def forget(self, of: Selection) -> None:
        """Take targets for well, whatever was learnt of them."""
        for model in self.snapshot.models.values():
            model.forget(of)

    def callers(self) -> dict[str, Caller]:
        """Who holds the valid keys, by the keys' ids."""
        return self._keys.callers

    def rights(self, caller: Caller) -> Rights:
        return self.snapshot.rights.rights(caller, None)

    async def configure(self, work: Callable[[Configuration[Snapshot]], T]) -> T:
        """Do some work with the configuration, away from the loop and one after the other, and serve by what it left.

        Calls that are being answered end by the revision they began with. Other processes hear of a new one. Raises
        `LimitExceeded`, `DatabaseAway`, and what `work` does.
        """
        before = self.snapshot.revision
        try:
            return await self._configure(work)
        finally:
            if self.snapshot.revision != before:
                self.store.publish(CONFIG, b"")

    async def _configure(self, work: Callable[[Configuration[Snapshot]], T]) -> T:
        if self._configurations >= MAX_CONFIGURING:
            raise LimitExceeded("The configuration is busy: try again.", reason="concurrency", retry_after_s=1.0)
        self._configurations += 1
        try:
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self._configuring, self._configured, work)
        finally:
            self._configurations -= 1
            self.config_trouble = self._configuration.trouble
            self._take_up(self._configuration.live.snapshot)

    def _configured(self, work: Callable[[Configuration[Snapshot]], T]) -> T:
        with uncollected(), answering():
            return work(self._configuration)

    async def follow_config(self) -> None:
        """Serve by the newest revision. Raises as `Configuration.follow`."""
        await self._configure(Configuration[Snapshot].follow)

    def config_counts(self) -> ConfigCounts:
        """What the metrics tell of the configuration."""
        return ConfigCounts(self.snapshot.revision, self.config_trouble is not None, self._reloads)

    def _take_up(self, snapshot: Snapshot) -> None:
        before = self.snapshot
        if snapshot is before:
            return
        snapshot.begin(self.holds, before)
        self.snapshot = snapshot
        self._reloads += 1
        for name, service in before.services.items():
            if snapshot.services.get(name) is not service:
                service.close()

    def replace_database_state(self, state: str) -> None:
        """`ok`, or what is wrong with the database. Looked at in the background: no request waits for a database."""
        self.database_state = state

    def journal_counts(self) -> JournalCounts:
        """What the metrics tell of the journal."""
        state = self.journal.state()
        return JournalCounts(state.appended, state.dropped, state.backlog.undrained_bytes)

    def close(self) -> None:
        self.readers.close()
        self._configuring.shutdown()
        for service in self.snapshot.services.values():
            service.close()
        self.journal.close()
        self.records.close()
