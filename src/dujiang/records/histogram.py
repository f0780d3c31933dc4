"""Durations counted in logarithmic buckets, of which any quantile can be read to within 5 %.

The buckets are DDSketch's (Masson, Rim, Lee: "DDSketch", VLDB 2019, §2.1): bucket i holds what lies in (γ^(i-1), γ^i]
with γ = (1 + α) / (1 - α), and 2γ^i / (γ + 1) is within α of all of it. A histogram is one integer with a lane of 32
bits per bucket, so that adding histograms is adding integers. Stored, it is the number of its first lane in a byte,
then the lanes.
"""

from bisect import bisect_left
from itertools import accumulate
from math import ceil, isfinite, log
from sys import byteorder
from typing import Any

ACCURACY = 0.05
"""α: no quantile is further than this share from a value that was counted."""

EMPTY = b""

_GAMMA = (1 + ACCURACY) / (1 - ACCURACY)
_LANE_BITS = 32
_LANE_BYTES = 4
_LANES = 256
# Lane 0 is everything up to 10 µs; lane 255 begins above 13 days.
_OFFSET = -ceil(log(0.01) / log(_GAMMA))
_UPPER_BOUNDS = (0.01, *(_GAMMA ** (lane - _OFFSET) for lane in range(1, _LANES - 1)))
_MIDDLES = (0.01, *(round(2 * _GAMMA ** (lane - _OFFSET) / (_GAMMA + 1), 3) for lane in range(1, _LANES)))
_ONE_IN_LANE = tuple(1 << _LANE_BITS * lane for lane in range(_LANES))


def counted(ms: float) -> int:
    """The histogram of one duration. Raises `ValueError` for what is not a finite number."""
    if not isfinite(ms):
        raise ValueError(f"{ms} is no duration")
    return _ONE_IN_LANE[bisect_left(_UPPER_BOUNDS, ms)]


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
    """For each share, the duration in milliseconds that this share of the counted does not exceed.

    By nearest rank; None where nothing was counted.
    """
    reached = _reached(histogram)
    if not reached:
        return [None for _ in shares]
    ranks = (max(ceil(share * reached[-1]), 1) for share in shares)
    return [_MIDDLES[bisect_left(reached, rank)] for rank in ranks]


def _reached(histogram: int) -> list[int]:
    """For each lane, how many are counted in it and below."""
    size = ceil(histogram.bit_length() / _LANE_BITS)
    raw = histogram.to_bytes(size * _LANE_BYTES, byteorder)
    lanes = memoryview(raw).cast("I")
    return list(accumulate(lanes if byteorder == "little" else reversed(lanes)))


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
