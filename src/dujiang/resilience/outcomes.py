"""The last outcomes of something that is called: a window bounded by their number and by their age."""

from collections import deque

GOOD, SLOW, FAILED = 0, 1, 2


class Outcomes:
    """The last `size` outcomes that are not older than `max_age_s`, counted. Adding one takes constant time.

    Moments are seconds of one clock and must not go back. What is too old leaves when the next outcome is added.
    """

    __slots__ = ("_kinds", "_max_age_s", "_moments", "failed", "size", "slow")

    def __init__(self, size: int, max_age_s: float) -> None:
        self.size = size
        self.failed = 0
        self.slow = 0
        self._max_age_s = max_age_s
        self._moments: deque[float] = deque()
        self._kinds: deque[int] = deque()

    def __len__(self) -> int:
        return len(self._kinds)

    def add(self, now: float, kind: int) -> None:
        """Count one more outcome: `GOOD`, `SLOW` or `FAILED`."""
        moments = self._moments
        moments.append(now)
        self._kinds.append(kind)
        if kind:
            self._count(kind, 1)
        oldest = now - self._max_age_s
        while len(moments) > self.size or moments[0] < oldest:
            moments.popleft()
            gone = self._kinds.popleft()
            if gone:
                self._count(gone, -1)

    def clear(self) -> None:
        self._moments.clear()
        self._kinds.clear()
        self.failed = self.slow = 0

    def _count(self, kind: int, change: int) -> None:
        if kind == FAILED:
            self.failed += change
        else:
            self.slow += change
