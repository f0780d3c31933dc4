"""A thread that syncs a journal to the disk now and then, so that a power failure loses that much and no more."""

import threading
from collections import deque
from collections.abc import Callable

from dujiang.records.disk import Disk
from dujiang.records.segment_writer import SegmentWriter


class Syncer:
    """Syncs the current segment every `interval_s` if it grew. It alone closes segments, once they are synced."""

    def __init__(self, disk: Disk, interval_s: float, on_error: Callable[[OSError], None]) -> None:
        self._disk = disk
        self._interval_s = interval_s
        self._on_error = on_error
        self._current: SegmentWriter | None = None
        self._retired: deque[SegmentWriter] = deque()
        self._synced = (0, 0)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="journal sync", daemon=True)
        self._thread.start()

    def watch(self, segment: SegmentWriter) -> None:
        self._current = segment

    def retire(self, segment: SegmentWriter) -> None:
        """Sync and close it soon. Nothing is appended to it any more."""
        if self._current is segment:
            self._current = None
        self._retired.append(segment)

    def stop(self, timeout_s: float) -> None:
        """Sync and close what was retired, and end. A disk that hangs is left behind after `timeout_s`."""
        self._stopping.set()
        self._thread.join(timeout_s)

    def _run(self) -> None:
        is_last = False
        while not is_last:
            is_last = self._stopping.wait(self._interval_s)
            if (current := self._current) is not None:
                self._sync(current)
            while self._retired:
                segment = self._retired.popleft()
                self._sync(segment)
                segment.close()

    def _sync(self, segment: SegmentWriter) -> None:
        grown = (id(segment), segment.size)
        if grown == self._synced:
            return
        try:
            self._disk.sync(segment.descriptor)
        except OSError as error:
            self._on_error(error)
        else:
            self._synced = grown
