"""The drain: a thread that carries records from the journal's segments to where they are kept, and loses none."""

import logging
import os
import shutil
import threading
import time
from collections.abc import Iterator, Sequence
from enum import IntEnum
from pathlib import Path
from typing import BinaryIO, Protocol

from msgspec import DecodeError, Struct

from dujiang.records.frames import Damaged, NewerFormat, TornTail, Unreadable, check_header, read_frames
from dujiang.records.journal import Journal
from dujiang.records.record import Record, decode, encode
from dujiang.records.segments import (
    DAMAGED_SUFFIX,
    TORN_SUFFIX,
    Backlog,
    backlog,
    bytes_on_disk,
    draft_path,
    is_live,
    read_position,
    remove_orphans,
    remove_segment,
    segments,
    write_position,
)

BATCH = 2000
INTERVAL_S = 0.25
CORE_SHARE = 0.1
"""At 60 µs of CPU a record this carries 1,700 records a second."""

URGENT_BYTES = 512 * 1024 * 1024
DEAD_LETTERS = "dead-letters"
"""The folder, in the journal's own, of a journal with the records that can never be kept."""

_BATCH_BYTES = 8 * 1024 * 1024
_VISIT_BATCHES = 4
_BACKOFF_MIN_S, _BACKOFF_MAX_S = 0.25, 10.0
_DEAD_LETTER_LIMIT_BYTES = 256 * 1024 * 1024

_log = logging.getLogger(__name__)


class Sink(Protocol):
    """Where records are kept. Used by the drain's thread alone."""

    def insert(self, batch: Sequence[Record]) -> int:
        """How many were new. When this returns, all of the batch is kept; when it raises, any part of it may be.

        A record may come again: one whose id is kept already is passed over. Raises `BadRecord` for a record that can
        never be kept, anything else where it is worth trying again.
        """
        ...


class BadRecord(Exception):
    """The record with this id can never be kept, so that trying again is of no use."""

    def __init__(self, record_id: str, reason: str) -> None:
        super().__init__(f"the record {record_id[:100]!r} cannot be kept: {reason}")
        self.record_id = record_id


class DrainState(Struct, frozen=True):
    """Counted since the start.

    `dead_letters` are records that can never be kept; `torn` and `damaged` the segments whose rest was set aside;
    `failures` the visits to a segment that ended in an error. `last_error` is None when the last pass had none.
    """

    drained: int
    inserted: int
    dead_letters: int
    torn: int
    damaged: int
    failures: int
    last_error: str | None
    backlog: Backlog


class _Outcome(IntEnum):
    """Of a visit to a segment; of a pass over all, the worst of its visits."""

    DONE = 0
    MORE = 1
    FAILED = 2


class Drain:
    """Reads every segment of the directory, of writers that live or died, and removes those that are complete.

    How far a segment is drained is remembered after the sink kept the batch: a crash repeats a batch, never skips one.
    One drain works on a directory: whoever starts it holds the lock of the data directory.
    """

    def __init__(
        self,
        directory: Path,
        sink: Sink,
        *,
        batch: int = BATCH,
        interval_s: float = INTERVAL_S,
        core_share: float = CORE_SHARE,
        urgent_bytes: int = URGENT_BYTES,
    ) -> None:
        """`core_share` is the part of a core that the drain takes at most while calls are served, so that a flood of
        calls is not slowed by its own records; above `urgent_bytes` of journal it takes what it needs.
        """
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._directory = directory
        self._sink = sink
        self._batch = batch
        self._interval_s = interval_s
        self._pause_per_s = 1 / core_share - 1
        self._urgent_bytes = urgent_bytes
        self._positions: dict[Path, int] = {}
        self._is_forgetful = False
        self._dead_letters: Journal | None = None
        self._drained = self._inserted = self._buried = self._torn = self._damaged = self._failures = 0
        self._last_error: str | None = None
        self._reported: set[str] = set()
        self._backoff_s = 0.0
        self._stopping = threading.Event()
        self._final_until = 0.0
        self._thread = threading.Thread(target=self._run, name="journal drain", daemon=True)

    def start(self) -> None:
        remove_orphans(self._directory)
        self._thread.start()

    def stop(self, *, final: bool, deadline_s: float = 10.0) -> bool:
        """End the thread; `final`: drain what is there first. Returns whether it ended in time.

        What is not drained stays in the journal for the next start.
        """
        if final:
            self._final_until = time.monotonic() + deadline_s
        self._stopping.set()
        if self._thread.ident is None:
            return True
        self._thread.join(deadline_s + 0.5)
        return not self._thread.is_alive()

    def state(self) -> DrainState:
        """For health and metrics, from any thread. Looks at the directory."""
        return DrainState(
            self._drained,
            self._inserted,
            self._buried,
            self._torn,
            self._damaged,
            self._failures,
            self._last_error,
            backlog(self._directory),
        )

    def drain_once(self) -> bool:
        """One pass over all segments in the caller's thread. Returns whether nothing was left to do."""
        return self._pass() is _Outcome.DONE

    def _run(self) -> None:
        wait_s = 0.0
        while not self._stopping.wait(wait_s):
            began_s = time.thread_time()
            outcome = self._pass()
            wait_s = max(self._wait_after(outcome), self._pause_after(time.thread_time() - began_s))
        while not self._is_late() and (outcome := self._pass()) is not _Outcome.DONE:
            time.sleep(min(self._wait_after(outcome), max(0.0, self._final_until - time.monotonic())))
        if self._dead_letters is not None:
            self._dead_letters.close()

    def _wait_after(self, outcome: _Outcome) -> float:
        if outcome is _Outcome.FAILED:
            self._backoff_s = min(max(2 * self._backoff_s, _BACKOFF_MIN_S), _BACKOFF_MAX_S)
            return self._backoff_s
        self._backoff_s = 0.0
        return 0.0 if outcome is _Outcome.MORE else self._interval_s

    def _pause_after(self, busy_s: float) -> float:
        """How long to leave the core to others after `busy_s` of work."""
        if bytes_on_disk(self._directory) > self._urgent_bytes:
            return 0.0
        return busy_s * self._pause_per_s

    def _is_late(self) -> bool:
        return self._stopping.is_set() and time.monotonic() >= self._final_until

    def _pass(self) -> _Outcome:
        """A segment that cannot be drained does not hold up the others."""
        worst = _Outcome.DONE
        errors: list[str] = []
        for segment in segments(self._directory):
            if self._is_late():
                return _Outcome.MORE
            try:
                worst = max(worst, self._visit(segment))
            except (NewerFormat, Damaged) as error:  # waits for another release, or for its writer's end
                errors.append(f"{segment.name}: {error}")
            except Exception as error:  # noqa: BLE001 - whatever the sink or the disk raises: it is tried again
                errors.append(f"{segment.name}: {type(error).__name__}: {error}")
                self._failures += 1
                worst = _Outcome.FAILED
        self._report(errors)
        return worst

    def _report(self, errors: list[str]) -> None:
        for error in errors:
            if error not in self._reported:
                _log.error("the journal is not drained: %s", error)
        if self._reported and not errors:
            _log.warning("the journal is drained again")
        self._reported = set(errors)
        self._last_error = errors[-1] if errors else None

    def _visit(self, segment: Path) -> _Outcome:
        """Drain some batches of a segment; remove it when it is complete and drained to its end."""
        with segment.open("rb", buffering=0) as file:
            is_growing = is_live(file.fileno())  # asked first: what ends after this is really the end
            try:
                check_header(file.fileno())
                is_at_end = self._deliver(segment, file.fileno())
            except Unreadable as rest:
                if not is_growing:
                    self._set_aside(segment, file, rest)
                elif not isinstance(rest, TornTail):
                    raise
                is_at_end = True
            if is_at_end and not is_growing:
                remove_segment(segment)
                self._positions.pop(segment, None)
            return _Outcome.DONE if is_at_end else _Outcome.MORE

    def _deliver(self, segment: Path, descriptor: int) -> bool:
        """Whether the end was reached. Raises `Unreadable` after all that is intact before it was delivered."""
        position = self._positions.get(segment) or read_position(segment)
        batches = _batches(read_frames(descriptor, position), self._batch)
        for done, (payloads, end) in enumerate(batches, start=1):
            self._commit(payloads)
            self._remember(segment, end)
            if done == _VISIT_BATCHES or self._is_late():
                return False
        return True

    def _remember(self, segment: Path, position: int) -> None:
        """On a full disk in memory alone, since draining is what empties it; a crash repeats more then."""
        self._positions[segment] = position
        try:
            write_position(segment, position)
        except OSError as error:
            if not self._is_forgetful:
                _log.warning("cannot write how far the journal is drained: %s", error.strerror)
            self._is_forgetful = True
        else:
            self._is_forgetful = False

    def _commit(self, payloads: list[bytes]) -> None:
        records: list[Record] = self._decoded(payloads)
        while records:
            try:
                self._inserted += self._sink.insert(records)
                break
            except BadRecord as bad:
                refused = [record for record in records if record.id == bad.record_id]
                if not refused:
                    raise
                for record in refused:
                    self._bury(encode(record), bad)
                records = [record for record in records if record.id != bad.record_id]
        self._drained += len(payloads)

    def _decoded(self, payloads: list[bytes]) -> list[Record]:
        records: list[Record] = []
        for payload in payloads:
            try:
                records.append(decode(payload))
            except DecodeError as error:
                self._bury(payload, error)
        return records

    def _bury(self, payload: bytes, reason: Exception) -> None:
        """Raises `JournalFailed` where even that is not possible: then the whole batch is tried again."""
        if self._dead_letters is None:
            directory = self._directory / DEAD_LETTERS
            self._dead_letters = Journal(directory, limit_bytes=_DEAD_LETTER_LIMIT_BYTES, fsync_ms=None)
        self._dead_letters.check()
        self._dead_letters.append(payload)
        self._buried += 1
        _log.error("a record was put into %s: %s", DEAD_LETTERS, reason)

    def _set_aside(self, segment: Path, file: BinaryIO, rest: Unreadable) -> None:
        """Keep the bytes that cannot be read beside the journal, for whoever wants to look."""
        is_torn = isinstance(rest, TornTail)
        target = segment.with_name(segment.name + (TORN_SUFFIX if is_torn else DAMAGED_SUFFIX))
        size = os.fstat(file.fileno()).st_size - rest.offset
        file.seek(rest.offset)
        with draft_path(target).open("wb") as draft:
            shutil.copyfileobj(file, draft)
        draft_path(target).replace(target)
        if is_torn:
            self._torn += 1
        else:
            self._damaged += 1
        _log.error("%s: %s; %d bytes are set aside in %s", segment.name, rest, size, target.name)


def _batches(frames: Iterator[tuple[bytes, int]], rows: int) -> Iterator[tuple[list[bytes], int]]:
    """Payloads and where they end, `rows` or 8 MiB at a time. What `frames` raises comes after the last batch."""
    payloads: list[bytes] = []
    size = end = 0
    unreadable: Unreadable | None = None
    try:
        for payload, end in frames:
            payloads.append(payload)
            size += len(payload)
            if len(payloads) >= rows or size >= _BATCH_BYTES:
                yield payloads, end
                payloads, size = [], 0
    except Unreadable as rest:
        unreadable = rest
    if payloads:
        yield payloads, end
    if unreadable is not None:
        raise unreadable
