"""The composition root of a worker: what the edge works with, and how one revision takes the place of another."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from time import time
from typing import TypeVar

from dujiang.chat.tasks import OpenCalls
from dujiang.config.apart import Readers
from dujiang.config.service import Configuration
from dujiang.core.call import Caller, Rights
from dujiang.core.collector import uncollected
from dujiang.core.errors import LimitExceeded
from dujiang.identity.authenticate import authenticate
from dujiang.identity.key_ring import KeyRing
from dujiang.identity.ledger import Ledger
from dujiang.identity.standings import Standings
from dujiang.records.journal import Journal
from dujiang.records.service import Records
from dujiang.snapshot import Snapshot
from dujiang.storage.database import answering
from dujiang.storage.store import Store
from dujiang.telemetry.metrics import ConfigCounts, JournalCounts, Metrics

BODY_LIMIT_BYTES = 16 * 1024 * 1024
MAX_CONFIGURING = 32
"""Questions to, and changes of, the configuration that wait for each other."""

T = TypeVar("T")


class Runtime:
    """What the edge works with: the current snapshot, the keys, the counters, and whether we are shutting down."""

    def __init__(
        self,
        configuration: Configuration[Snapshot],
        keys: KeyRing,
        metrics: Metrics,
        *,
        journal: Journal,
        records: Records,
        ledger: Ledger,
        store: Store,
        has_open_metrics: bool = False,
        body_limit_bytes: int = BODY_LIMIT_BYTES,
    ) -> None:
        self.snapshot = configuration.live.snapshot
        self.config_trouble = configuration.trouble
        self._configuration = configuration
        self._configuring = ThreadPoolExecutor(1, "configure")
        self.readers = Readers()
        self._configurations = 0
        self._reloads = 0
        self.metrics = metrics
        self.has_open_metrics = has_open_metrics
        self.started_at_s = int(time())
        self.journal = journal
        self.records = records
        self.ledger = ledger
        self.store = store
        self.standings = Standings(ledger, store)
        self.calls = OpenCalls()
        self.is_draining = False
        self.database_state = "ok"
        self.body_limit_bytes = body_limit_bytes
        self._keys = keys

    def authenticate(self, header: bytes | None) -> Caller:
        """Who holds the key of an `Authorization` header. Raises `Unauthenticated`."""
        return authenticate(self._keys, header)

    def replace_keys(self, keys: KeyRing) -> None:
        """From now on these keys are the valid ones."""
        self._keys = keys

    def callers(self) -> dict[str, Caller]:
        """Who holds the valid keys, by the keys' ids."""
        return self._keys.callers

    def rights(self, caller: Caller) -> Rights:
        return self.snapshot.rights.rights(caller, None)

    async def configure(self, work: Callable[[Configuration[Snapshot]], T]) -> T:
        """Do some work with the configuration, away from the loop and one after the other, and serve by what it left.

        Calls that are being answered end by the revision they began with. Raises `LimitExceeded`,
        `DatabaseAway`, and what `work` does.
        """
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
        await self.configure(Configuration[Snapshot].follow)

    def config_counts(self) -> ConfigCounts:
        """What the metrics tell of the configuration."""
        return ConfigCounts(self.snapshot.revision, self.config_trouble is not None, self._reloads)

    def _take_up(self, snapshot: Snapshot) -> None:
        before = self.snapshot
        if snapshot is before:
            return
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
