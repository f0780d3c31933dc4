"""Exponentially weighted moving averages of samples that come at uneven times.

The weight of what was known is exp(-dt / decay_s), dt being the seconds since the sample before: Eckner, *Algorithms
for Unevenly Spaced Time Series* (2012). Time is whatever monotonic clock the caller reads.
"""

from math import exp

DECAY_S = 10.0
"""Finagle's default. What was known counts a half after 6.9 s, a tenth after 23 s."""


class Ewma:
    """The mean of late. `value` lies between the least and the greatest sample; it is 0 while there is none."""

    __slots__ = ("_decay_s", "_sampled_at", "value")

    def __init__(self, decay_s: float = DECAY_S) -> None:
        self._decay_s = decay_s
        self._sampled_at: float | None = None
        self.value = 0.0

    def observe(self, sample: float, now: float) -> None:
        """Take in a sample of at least 0. A clock that stands still, or steps back, lets the new sample count nothing
        but for the first.
        """
        if self._sampled_at is None:
            self.value = sample
            self._sampled_at = now
            return
        kept = exp(-max(now - self._sampled_at, 0.0) / self._decay_s)
        self.value = _between(self.value, sample, kept)
        self._sampled_at = max(now, self._sampled_at)


class PeakEwma:
    """The mean of late, but for peaks: a sample above the mean *is* the mean at once, and is forgotten slowly.

    So a target that becomes slow is avoided from its first slow answer on. Finagle's `PeakEwma` balancer.
    """

    __slots__ = ("_decay_s", "_sampled_at", "value")

    def __init__(self, decay_s: float = DECAY_S) -> None:
        self._decay_s = decay_s
        self._sampled_at = 0.0
        self.value = 0.0

    def observe(self, sample: float, now: float) -> None:
        """Take in a sample of at least 0."""
        if sample >= self.value:
            self.value = sample
        else:
            kept = exp(-max(now - self._sampled_at, 0.0) / self._decay_s)
            self.value = _between(self.value, sample, kept)
        self._sampled_at = now

    def at(self, now: float) -> float:
        """What is still known of it now: without samples it fades to 0, so that the avoided is tried again."""
        if now <= self._sampled_at:
            return self.value
        return self.value * exp((self._sampled_at - now) / self._decay_s)


def _between(old: float, new: float, kept: float) -> float:
    """Old and new mixed; held between both, for the sum may come out beside them by a rounding."""
    mixed = old * kept + new * (1.0 - kept)
    return min(max(mixed, min(old, new)), max(old, new))
