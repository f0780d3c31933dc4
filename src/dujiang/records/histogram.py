"""Durations counted in logarithmic buckets, of which any quantile can be read to within 5 %.

The buckets are DDSketch's (Masson, Rim, Lee: "DDSketch", VLDB 2019, §2.1): bucket i holds what lies in (γ^(i-1), γ^i]
with γ = (1 + α) / (1 - α), and 2γ^i / (γ + 1) is within α of all of it. A histogram is one integer with a lane of 32
bits per bucket, so that adding histograms is adding integers. Stored, it is the number of its first lane in a byte,
then the lanes.
"""

from math import ceil, log
from typing import Any

ACCURACY = 0.05
"""α: no quantile is further than this share from a value that was counted."""

EMPTY = b""

_GAMMA = (1 + ACCURACY) / (1 - ACCURACY)
_PER_BUCKET = 1 / log(_GAMMA)
_LANE_BITS = 32
_LANE_BYTES = 4
_LAST_LANE = 255
# Lane 0 is everything up to 10 µs; lane 255 begins above 13 days.
_OFFSET = -ceil(log(0.01) * _PER_BUCKET)


def counted(ms: float) -> int:
    """The histogram of one duration. Raises `ValueError` or `OverflowError` for what is not a finite number."""
    if ms <= 0.01:
        return 1
    return 1 << _LANE_BITS * min(ceil(log(ms) * _PER_BUCKET) + _OFFSET, _LAST_LANE)


def packed(histogram: int) -> bytes:
    """The shortest bytes that `unpacked` reads."""
    if not histogram:
        return EMPTY
    first = ((histogram & -histogram).bit_length() - 1) // _LANE_BITS
    lanes = histogram >> _LANE_BITS * first
    return bytes([first]) + lanes.to_bytes((lanes.bit_length() + 7) // 8, "little")


def unpacked(blob: bytes) -> int:
    return int.from_bytes(blob[1:], "little") << _LANE_BITS * blob[0] if blob else 0


def added(one: bytes, other: bytes) -> bytes:
    """The stored sum of two stored histograms."""
    if not (one and other):
        return one or other
    return packed(unpacked(one) + unpacked(other))


def quantiles(histogram: int, shares: tuple[float, ...]) -> list[float | None]:
    """For each share, in rising order, the duration in milliseconds that this share of the counted does not exceed.

    By nearest rank; None where nothing was counted.
    """
    lanes = _lanes(histogram)
    total = sum(lanes)
    if not total:
        return [None for _ in shares]
    found: list[float | None] = []
    seen = 0
    lane = -1
    for share in shares:
        while seen < max(ceil(share * total), 1):
            lane += 1
            seen += lanes[lane]
        found.append(_middle(lane))
    return found


def _lanes(histogram: int) -> list[int]:
    size = ceil(histogram.bit_length() / _LANE_BITS)
    raw = histogram.to_bytes(size * _LANE_BYTES, "little")
    return list(memoryview(raw).cast("I"))


def _middle(lane: int) -> float:
    if lane == 0:
        return 0.01
    return round(2 * _GAMMA ** (lane - _OFFSET) / (_GAMMA + 1), 3)


class MergedHistograms:
    """The sum of stored histograms."""

    def __init__(self) -> None:
        self._sum = 0

    def step(self, blob: bytes) -> None:
        self._sum += unpacked(blob)

    def finalize(self) -> bytes:
        return packed(self._sum)


class CountedDurations:
    """The histogram of durations; NULL is not counted."""

    def __init__(self) -> None:
        self._sum = 0

    def step(self, ms: float | None) -> None:
        if ms is not None:
            self._sum += counted(ms)

    def finalize(self) -> bytes:
        return packed(self._sum)


AGGREGATES: dict[str, Any] = {"merged_histograms": MergedHistograms, "counted_durations": CountedDurations}
"""The aggregates by the name that SQL calls them."""
