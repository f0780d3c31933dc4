"""Tells who was seen: users by app, from the records on their way to where they are kept."""

import logging
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime

from dujiang.core.errors import AppError
from dujiang.records.drain import Sink
from dujiang.records.record import Record

EVERY_S = 60
"""How exact a user's last moment is: so that busy ones cost a write a minute and no more."""

MAX_REMEMBERED = 100_000

Seen = Mapping[tuple[str, str], datetime]

_log = logging.getLogger(__name__)


class SeenSink:
    """A sink that hands records on, and then tells whom they name. Where that fails, records do not wait for it."""

    def __init__(self, sink: Sink, tell: Callable[[Seen], None]) -> None:
        self._sink = sink
        self._tell = tell
        self._told_ms: dict[tuple[str, str], int] = {}

    def insert(self, batch: Sequence[Record]) -> int:
        inserted = self._sink.insert(batch)
        seen = self._fresh(batch)
        if seen:
            try:
                self._tell({user: datetime.fromtimestamp(ms / 1000, UTC) for user, ms in seen.items()})
            except AppError as error:
                _log.warning("who was seen cannot be kept: %s", error.message)
            else:
                self._remember(seen)
        return inserted

    def _fresh(self, batch: Sequence[Record]) -> dict[tuple[str, str], int]:
        """The last moment of each user for whom it is worth a write."""
        seen: dict[tuple[str, str], int] = {}
        for record in batch:
            if record.user_id is not None:
                user = (record.app, record.user_id)
                seen[user] = max(record.started_at_ms, seen.get(user, 0))
        return {user: ms for user, ms in seen.items() if ms - self._told_ms.get(user, 0) >= EVERY_S * 1000}

    def _remember(self, seen: Mapping[tuple[str, str], int]) -> None:
        if len(self._told_ms) + len(seen) > MAX_REMEMBERED:
            self._told_ms.clear()
        self._told_ms.update(seen)
