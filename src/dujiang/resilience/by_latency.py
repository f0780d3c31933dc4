"""The strategy that looks at how fast targets were of late."""

from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from dujiang.resilience.by_load import FEW, Pairs
from dujiang.resilience.candidate import Candidate, TimedLoad
from dujiang.resilience.ewma import PeakEwma
from dujiang.resilience.slow_start import SlowStart

T = TypeVar("T", bound=Candidate)

Series = Callable[[TimedLoad], PeakEwma]

_UNKNOWN_S = 1e9


def first_token(load: TimedLoad) -> PeakEwma:
    """The series that tells of streamed answers."""
    return load.first_token


def per_token(load: TimedLoad) -> PeakEwma:
    """The series that tells of whole answers."""
    return load.per_token


class ByLatency(Generic[T]):
    """The least latency × (calls in flight + 1) for its weight, latency being the peak EWMA of one series.

    Finagle's peak EWMA, but that what is known of a target fades only while it has no calls: those that wait for their
    first token, perhaps for minutes, would else make it look faster by the second. Who was never measured is asked at
    once, and again only after its first answer, unless nobody was measured. Up to three targets are all compared; of
    more, two are. `clock` is the one that samples are told by.
    """

    __slots__ = ("_clock", "_pairs", "_series", "_slow_start")

    def __init__(
        self, series: Series, slow_start: SlowStart, random: Callable[[], float], clock: Callable[[], float]
    ) -> None:
        self._series = series
        self._slow_start = slow_start
        self._pairs = Pairs[T](slow_start, random)
        self._clock = clock

    def choose(self, candidates: Sequence[T], key: str | None = None) -> T:
        contenders = self._pairs.draw(candidates) if len(candidates) > FEW else candidates
        now = self._clock()
        chosen = contenders[0]
        least = self._cost(chosen, now)
        for target in contenders[1:]:
            cost = self._cost(target, now)
            if cost < least:
                chosen, least = target, cost
        return chosen

    def _cost(self, target: T, now: float) -> float:
        """What one call more would cost there, in seconds for a weight of 1."""
        load = target.load
        series = self._series(load)
        latency_s = series.value or _UNKNOWN_S if load.in_flight else series.at(now)
        weight = target.weight if load.restored_at is None else self._slow_start.weight(target)
        return latency_s * (load.in_flight + 1) / weight
