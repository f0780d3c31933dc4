"""The journal: a call's record is appended to a file before the call's last byte, and read into the database later."""

import errno
import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from msgspec import Struct

from dujiang.core.errors import AppError
from dujiang.core.ids import new_id
from dujiang.records.disk import Disk, SystemDisk
from dujiang.records.frames import HEADER_BYTES, PAYLOAD_LIMIT_BYTES, frame
from dujiang.records.segment_writer import SegmentWriter
from dujiang.records.segments import Backlog, backlog, bytes_on_disk, segment_name
from dujiang.records.syncer import Syncer

OnFull = Literal["refuse", "serve_and_alarm"]
"""What becomes of calls that cannot be recorded: none is taken, or they are served, counted and reported."""

Durability = Literal["process", "power"]
"""What an appended record survives: the end of the process however sudden, or the power's failure too. The second costs
a disk's flush (0.1 to 10 ms) on every call, during which the worker does nothing else."""

SEGMENT_BYTES = 64 * 1024 * 1024
LIMIT_BYTES = 2 * 1024 * 1024 * 1024
FSYNC_MS = 1000

_RETRY_S = 0.25
_STOP_S = 5.0
_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}

_log = logging.getLogger(__name__)


class JournalFailed(AppError):
    """The disk does not take records."""

    status = 503
    code = "journal_failed"


class JournalFull(JournalFailed):
    """The disk, or the journal's share of it, is full."""

    code = "journal_full"


class JournalState(Struct, frozen=True):
    """`since` is Unix seconds, None while all is well; `dropped` counts the records that could not be appended."""

    status: Literal["ok", "full", "failed"]
    since: float | None
    last_error: str | None
    appended: int
    dropped: int
    backlog: Backlog


class Journal:
    """The segments of one worker. Used by one thread; no method waits, but for the disk.

    Segments are files of `segment_bytes` at most, a quarter of a writer's share of the limit at most, and one frame at
    least: what is drained is given back by the segment, and the segments of workers that have nothing to do must not
    fill the directory. `limit_bytes` bounds all segments of the directory, those of other workers too: each looks at it
    every sixteenth of its share, so that together they may pass it by a sixteenth and by the calls they were answering.
    Where the policy is `refuse`, a call that was taken is recorded even then.
    """

    def __init__(
        self,
        directory: Path,
        *,
        segment_bytes: int = SEGMENT_BYTES,
        limit_bytes: int = LIMIT_BYTES,
        on_full: OnFull = "refuse",
        durability: Durability = "process",
        fsync_ms: int | None = FSYNC_MS,
        writers: int = 1,
        disk: Disk | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`fsync_ms` is how much a power failure may lose where `durability` is `process`, None for the system's habit.
        `writers` is how many journals share the directory.

        Raises `OSError` where the directory cannot be made. A full disk is a state, not an error.
        """
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._directory = directory
        self._segment_bytes = min(segment_bytes, limit_bytes // writers // 4)
        self._limit_bytes = limit_bytes
        self._look_bytes = limit_bytes // writers // 16
        self._on_full = on_full
        self._is_durable = durability == "power"
        self._disk = disk or SystemDisk()
        self._clock = clock
        self._writer_id = new_id()
        self._sequence = 0
        self._segment: SegmentWriter | None = None
        self._room = 0
        self._retry_at = 0.0
        self._trouble: tuple[type[JournalFailed], str, float] | None = None
        self._last_error: str | None = None
        self._appended = self._dropped = 0
        self._is_closed = False
        self._syncer: Syncer | None = None
        if fsync_ms is not None and not self._is_durable:
            self._syncer = Syncer(self._disk, fsync_ms / 1000, self._note)
        try:
            self._open()
        except OSError as error:
            self._suffer(error)
        else:
            self._measure()

    def check(self) -> None:
        """Raises `JournalFailed` where a call that begins now must be refused, because it could not be recorded."""
        if self._trouble is None or self._on_full == "serve_and_alarm":
            return
        if self._segment is None:
            self._reopen()
        self._measure()
        self._raise_trouble()

    def append(self, payload: bytes) -> None:
        """Returns when the record will survive what `durability` says.

        Raises `JournalFailed` where it will not, or counts it as dropped, by the policy.
        """
        data = frame(payload)
        size = len(data)
        try:
            segment = self._segment
            if segment is None or size > self._room:
                segment = self._make_room(size)
            try:
                segment.append(data)
            except OSError as error:
                self._append_elsewhere(data, error)
        except JournalFailed:
            self._dropped += 1
            if self._on_full == "refuse":
                raise
            return
        self._room -= size
        self._appended += 1

    def state(self) -> JournalState:
        """For health and metrics. Looks at the directory."""
        kind, _, since = self._trouble or (None, "", None)
        status = "ok" if kind is None else "full" if kind is JournalFull else "failed"
        try:
            found = backlog(self._directory)
        except OSError as error:
            self._note(error)
            found = Backlog()
        return JournalState(status, since, self._last_error, self._appended, self._dropped, found)

    def close(self) -> None:
        """Nothing can be appended any more; what was, is synced unless `fsync_ms` is None."""
        self._is_closed = True
        self._room = 0
        self._retire()
        if self._syncer is not None:
            self._syncer.stop(_STOP_S)

    def _make_room(self, size: int) -> SegmentWriter:
        """The segment for a frame of this size. Raises `JournalFailed`."""
        if size > PAYLOAD_LIMIT_BYTES:
            raise JournalFailed(f"A record of {size} bytes is too large for the journal.")
        segment = self._segment or self._reopen()
        if segment.size + size > self._segment_bytes and segment.size > HEADER_BYTES:
            segment = self._rotate(segment)
        self._measure()
        segment = self._segment or segment
        if self._trouble is None:
            left = min(self._segment_bytes - segment.size, self._look_bytes)
            self._room = max(size, left)
        elif self._on_full == "serve_and_alarm":
            raise self._error()
        else:
            self._room = size
        return segment

    def _append_elsewhere(self, data: bytes, cause: OSError) -> None:
        """Once more, in a fresh segment: the trouble may be of this file alone, such as its largest allowed size."""
        self._note(cause)
        self._retire()
        try:
            self._open().append(data)
        except OSError as error:
            self._suffer(error)
            raise self._error() from error
        self._room = len(data)

    def _rotate(self, full: SegmentWriter) -> SegmentWriter:
        try:
            fresh = self._open()
        except OSError as error:
            self._note(error)
            return full  # may still take it
        self._put_away(full)
        return fresh

    def _reopen(self) -> SegmentWriter:
        """After trouble with the disk: try whether it is over, at most once in a while. Raises `JournalFailed`."""
        if self._is_closed:
            raise JournalFailed("The journal is closed.")
        if self._clock() < self._retry_at:
            raise self._error()
        try:
            segment = self._open(is_probed=True)
        except OSError as error:
            self._suffer(error)
            raise self._error() from error
        self._recover()
        return segment

    def _open(self, *, is_probed: bool = False) -> SegmentWriter:
        self._sequence += 1
        path = self._directory / segment_name(self._writer_id, self._sequence)
        self._segment = SegmentWriter(self._disk, path, is_durable=self._is_durable, is_probed=is_probed)
        if self._syncer is not None:
            self._syncer.watch(self._segment)
        return self._segment

    def _retire(self) -> None:
        if self._segment is not None:
            self._put_away(self._segment)
            self._segment = None

    def _put_away(self, segment: SegmentWriter) -> None:
        if self._syncer is not None:
            self._syncer.retire(segment)
        else:
            segment.close()

    def _measure(self) -> None:
        """Hold the segments against the limit. While they are past it, at most once in a while."""
        now = self._clock()
        if self._trouble is not None and now < self._retry_at:
            return
        try:
            total = bytes_on_disk(self._directory)
        except OSError as error:
            self._note(error)
            return
        if total < self._limit_bytes:
            self._recover()
        else:
            self._report(JournalFull, f"the journal holds {total} bytes of {self._limit_bytes} allowed")
            self.turn_over()

    def turn_over(self) -> None:
        """Go on in another segment where this one has records: the drain cannot remove the one that is being written,
        nor with it what was said as it was said. A disk that does not take one changes nothing.
        """
        segment = self._segment
        if segment is not None and segment.size > HEADER_BYTES:
            self._rotate(segment)

    def _suffer(self, error: OSError) -> None:
        self._note(error)
        self._retire()
        kind = JournalFull if error.errno in _NO_ROOM else JournalFailed
        self._report(kind, error.strerror or type(error).__name__)

    def _report(self, kind: type[JournalFailed], reason: str) -> None:
        self._room = 0
        self._retry_at = self._clock() + _RETRY_S
        since = time.time() if self._trouble is None else self._trouble[2]
        if self._trouble is None:
            _log.error("calls cannot be recorded (%s): %s", self._on_full, reason)
        self._trouble = (kind, reason, since)

    def _recover(self) -> None:
        if self._trouble is not None:
            _log.warning("calls are recorded again; %d records were dropped so far", self._dropped)
            self._trouble = None

    def _note(self, error: OSError) -> None:
        self._last_error = error.strerror or str(error)

    def _raise_trouble(self) -> None:
        if self._trouble is not None:
            raise self._error()

    def _error(self) -> JournalFailed:
        kind, reason, _ = self._trouble or (JournalFailed, "unknown", 0.0)
        return kind(f"Calls cannot be recorded, so none is taken: {reason}.", retry_after_s=1.0)
