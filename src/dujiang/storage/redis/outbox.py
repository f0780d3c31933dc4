"""What need not be waited for: told in order, in batches, and exactly once.

A batch has the process's next number, and the server remembers the last one that it counted: so that a batch whose
answer was lost can be sent again.
"""

import asyncio
from collections import deque
from itertools import chain, islice
from typing import Final, NamedTuple

from dujiang.storage.redis.link import Link, StoreAway, Word, is_done
from dujiang.storage.redis.scripts import Script

BATCH_ROWS: Final = 100
QUEUE_ROWS: Final = 20_000
"""As many may wait. A lane that is full takes no more."""

_PAUSE_S = 0.1


class Row(NamedTuple):
    """One line of a batch, as its script takes it."""

    keys: tuple[str, str]
    values: tuple[Word, ...]


class Lane:
    """The batches of one script. `sent_key` is where the server keeps the numbers."""

    def __init__(self, link: Link, script: Script, sent_key: str) -> None:
        self._link = link
        self._script = script
        self._sent_key = sent_key
        self._rows: deque[Row] = deque()
        self._number = 0
        self._wake = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()

    @property
    def is_full(self) -> bool:
        return len(self._rows) >= QUEUE_ROWS

    def put(self, row: Row) -> None:
        self._rows.append(row)
        self._idle.clear()
        self._wake.set()

    async def send(self) -> None:
        """Send what is there and what will be, until cancelled."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._rows:
                self._number += 1
                batch = list(islice(self._rows, BATCH_ROWS))
                await self._deliver(batch)
                for _ in batch:
                    self._rows.popleft()
            self._idle.set()

    async def flushed(self) -> None:
        """Ends when nothing waits any more."""
        await self._idle.wait()

    async def _deliver(self, batch: list[Row]) -> None:
        """One batch, until the server says that it has it."""
        keys = [self._sent_key, *chain.from_iterable(row.keys for row in batch)]
        values = [self._number, *chain.from_iterable(row.values for row in batch)]
        while True:
            await self._link.up.wait()
            try:
                await self._link.run(self._script, keys, values, is_done)
            except StoreAway:
                await asyncio.sleep(_PAUSE_S)
            else:
                return
