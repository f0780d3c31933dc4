"""What a process counted, in a form that others can add up, and how its parts stand."""

from bisect import bisect_left
from typing import Self, TypeVar

from msgspec import Struct, field

K = TypeVar("K")

TargetKey = tuple[str, str, str]
"""The labels of a target: model, target, credential."""

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)
OVERHEAD_SECONDS = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 0.5)


class Histogram(Struct):
    """Counts of observations by upper bound, as Prometheus wants them: the last is of what is above all bounds."""

    bounds: tuple[float, ...]
    counts: list[int]
    total: float = 0.0

    @classmethod
    def of(cls, bounds: tuple[float, ...]) -> Self:
        return cls(bounds, [0] * (len(bounds) + 1))

    def observe(self, value: float) -> None:
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value

    def add(self, other: "Histogram") -> None:
        """Count what another with the same bounds has seen, too."""
        self.counts = [mine + its for mine, its in zip(self.counts, other.counts, strict=True)]
        self.total += other.total


class Counts(Struct):
    """What only grows. Keys are label values: of `calls` endpoint, model, provider and outcome; of `attempts` target
    and error; of `retries` target and why; of `tokens` model and kind; of `refused` model and why; of `opened` a
    target's. `reloads` are the same events in every process.
    """

    calls: dict[tuple[str, str, str, str], int] = {}
    attempts: dict[tuple[str, str], int] = {}
    retries: dict[tuple[str, str], int] = {}
    tokens: dict[tuple[str, str], int] = {}
    duration: Histogram = field(default_factory=lambda: Histogram.of(SECONDS))
    overhead: Histogram = field(default_factory=lambda: Histogram.of(OVERHEAD_SECONDS))
    first_token: Histogram = field(default_factory=lambda: Histogram.of(SECONDS))
    waits: Histogram = field(default_factory=lambda: Histogram.of(SECONDS))
    refused: dict[tuple[str, str], int] = {}
    opened: dict[TargetKey, int] = {}
    unauthenticated: int = 0
    appended: int = 0
    dropped: int = 0
    reloads: int = 0

    def add(self, other: "Counts") -> None:
        """Count what another process counted, too."""
        _add(self.calls, other.calls)
        _add(self.attempts, other.attempts)
        _add(self.retries, other.retries)
        _add(self.tokens, other.tokens)
        self.duration.add(other.duration)
        self.overhead.add(other.overhead)
        self.first_token.add(other.first_token)
        self.waits.add(other.waits)
        _add(self.refused, other.refused)
        _add(self.opened, other.opened)
        self.unauthenticated += other.unauthenticated
        self.appended += other.appended
        self.dropped += other.dropped
        self.reloads = max(self.reloads, other.reloads)


class TargetLevels(Struct, frozen=True):
    """How a target stands in one process: its state, the calls that it has and those that it may have."""

    state: str
    in_flight: int
    limit: int


class Levels(Struct):
    """What goes up and down. `resident_bytes` and `descriptors` are None where the system does not tell. `waiting` are
    the calls that wait for a place, by model.
    """

    in_flight: int
    waiting_bytes: int
    revision: int
    is_stale: bool
    uptime_s: float
    tasks: int
    resident_bytes: int | None
    descriptors: int | None
    targets: dict[TargetKey, TargetLevels] = {}
    waiting: dict[str, int] = {}


class Sample(Struct):
    """What the worker of this number tells; no levels where it does not live any more."""

    worker: int
    counts: Counts
    levels: Levels | None


def _add(mine: dict[K, int], its: dict[K, int]) -> None:
    for key, count in its.items():
        mine[key] = mine.get(key, 0) + count
