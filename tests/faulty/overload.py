"""More calls than the target can take: what gets through, what others notice, and what is learnt of the limit."""

import asyncio
import math
import statistics
import time
from collections.abc import Sequence
from pathlib import Path

from msgspec import Struct

from faulty.row import Row, at_least, at_most, exactly
from faulty.traffic import Callers, Heard, calling, quantile, question
from faulty.upstreams import Scene, scene

_LATENCY_S = 0.1
_PLACES = 30
_CAPACITY_PER_S = _PLACES / _LATENCY_S
_UPSTREAM = f"latency={_LATENCY_S * 1000:.0f};concurrency={_PLACES}"
_TIMES = 5
_AFTER_S = 8.0


class Overload(Struct, frozen=True):
    goodput_of_peak: float
    peak_per_s: float
    """Of as many callers as the target takes at once, before."""
    offered_per_s: float
    waited_max_s: float
    """By the calls that were answered well, beyond what the target takes for an answer."""
    refused_p99_ms: float
    without_retry_after: int
    health_p99_ms: float
    """Of health and of the list of keys, asked in turn meanwhile …"""
    health_failed: int
    back_to_normal_s: float
    """… and from the end of the overload until the last call that was refused, at half of what the target takes."""


def _goodput(calls: Sequence[Heard], seconds: float) -> float:
    until_s = calls[0].began_s + seconds
    return sum(call.is_good and call.ended_s <= until_s for call in calls) / seconds


async def _look_in(played: Scene, took_ms: list[float], failed: list[int]) -> None:
    """Ask what an operator would, twice a second, on threads of their own."""
    while True:
        for path in ("/api/v1/health", "/api/v1/keys"):
            began_s = time.monotonic()
            status = (await asyncio.to_thread(played.ask, path)).status
            took_ms.append((time.monotonic() - began_s) * 1000)
            if status != 200:
                failed.append(status)
        await asyncio.sleep(0.5)


def _overload(data_dir: Path, seconds: float, concurrency: dict[str, object]) -> Overload:
    took_ms: list[float] = []
    failed: list[int] = []
    with scene(data_dir, {"a": _UPSTREAM}, {"concurrency": concurrency}) as played:
        request = question()

        async def load(callers: Callers):
            await callers.in_turn(request, _PLACES, 1)
            peak = await callers.in_turn(request, _PLACES, seconds / 6)
            looking = asyncio.create_task(_look_in(played, took_ms, failed))
            try:
                over = await callers.at_rate(request, _TIMES * _CAPACITY_PER_S, seconds)
            finally:
                looking.cancel()
            return peak, over, await callers.at_rate(request, _CAPACITY_PER_S / 2, min(_AFTER_S, seconds))

        peak, over, after = calling(played.port, load)
    refused = [call for call in over if call.status != 200]
    peak_per_s = sum(call.is_good for call in peak) / (seconds / 6)
    over_s = over[-1].began_s - over[0].began_s
    return Overload(
        _goodput(over, over_s) / peak_per_s,
        peak_per_s,
        len(over) / over_s,
        max((call.took_ms for call in over if call.is_good), default=math.nan) / 1000 - _LATENCY_S,
        quantile((call.took_ms for call in refused), 99),
        sum(call.retry_after_s is None for call in refused),
        quantile(took_ms, 99),
        len(failed),
        max((call.began_s for call in after if not call.is_good), default=after[0].began_s) - after[0].began_s,
    )


_KNOWN = {"limit": _PLACES, "adaptive": False}


def known_limit(data_dir: Path, seconds: float) -> Overload:
    return _overload(data_dir, seconds, _KNOWN)


def unknown_limit(data_dir: Path, seconds: float) -> Overload:
    return _overload(data_dir, seconds, {})


class TwoApps(Struct, frozen=True):
    alone_p99_ms: float
    beside_p99_ms: float
    """Of an app that sends 20 calls a second, while the other sends 20 times as many."""
    p99_of_alone: float
    saturated_alone_p99_ms: float
    """Of the same app, alone, with all of those calls."""
    jain_index: float
    """Of what two apps get that want more than there is, by their weights of 1 and 1 …"""
    jain_index_weighted: float
    """… and of 3 and 1; 1 is just."""


_RATE = 20.0
_SPREAD_MS = (70, 90, 110, 130)
_FAIR = {"concurrency": {"limit": 5, "adaptive": False}}


def two_apps(data_dir: Path, seconds: float) -> TwoApps:
    """Targets that take 210 calls a second together, each another time: of equal ones all places come free at once."""
    part_s = seconds / 5
    apps = {"small": {}, "large": {}, "heavy": {"weight": 3}}
    behaviours = {f"takes-{latency_ms}": f"latency={latency_ms}" for latency_ms in _SPREAD_MS}
    with scene(data_dir, behaviours, _FAIR, apps=apps) as played:
        keys = {app: played.ask("/api/v1/keys", {"app": app, "roles": ["user"]}).json["key"] for app in apps}
        requests = {app: question(key=key) for app, key in keys.items()}

        async def load(callers: Callers):
            alone = await callers.at_rate(requests["small"], _RATE, part_s)
            beside, _ = await asyncio.gather(
                callers.at_rate(requests["small"], _RATE, part_s),
                callers.at_rate(requests["large"], 20 * _RATE, part_s),
            )
            saturated = await callers.at_rate(requests["small"], 21 * _RATE, part_s)
            shares = await _sharing(callers, requests["small"], requests["large"], part_s)
            return (
                alone,
                beside,
                saturated,
                shares,
                await _sharing(callers, requests["heavy"], requests["large"], part_s),
            )

        alone, beside, saturated, even, uneven = calling(played.port, load)
    alone_ms, beside_ms, saturated_ms = (
        quantile((call.took_ms for call in calls if call.is_good), 99) for calls in (alone, beside, saturated)
    )
    return TwoApps(
        alone_ms,
        beside_ms,
        beside_ms / alone_ms,
        saturated_ms,
        jain(even),
        jain((uneven[0] / 3, uneven[1])),
    )


async def _sharing(callers: Callers, first: bytes, second: bytes, seconds: float) -> tuple[float, float]:
    """What two apps get that ask without end: 60 callers and, 20 times a fair share, 400."""
    began_s = time.monotonic()
    heard = await asyncio.gather(callers.in_turn(first, 60, seconds), callers.in_turn(second, 400, seconds))
    until_s = began_s + seconds  # who waits then is served later, but no longer beside the other
    good = [sum(call.is_good and began_s + seconds / 4 < call.ended_s < until_s for call in calls) for calls in heard]
    return float(good[0]), float(good[1])


def jain(shares: Sequence[float]) -> float:
    """Jain's index of fairness: 1 where all are equal, 1/n where one has everything."""
    return sum(shares) ** 2 / (len(shares) * sum(share**2 for share in shares))


class Learnt(Struct, frozen=True):
    limit_of_capacity: float
    """The median of the last third of the time, of what the target can take …"""
    throughput_of_capacity: float
    refused_upstream: float
    limit_of_half: float
    """… and the same after its capacity was halved."""
    throughput_of_half: float
    refused_upstream_of_half: float


_TAKES = 40
_LEARNS = {"concurrency": {"limit": 256, "adaptive": True}}


def learnt(data_dir: Path, seconds: float) -> Learnt:
    half_s = seconds / 2
    with scene(data_dir, {"a": _behaviour(_TAKES)}, _LEARNS) as played:
        first = _learning(played, _TAKES, half_s)
        played.behave(a=_behaviour(_TAKES // 2))
        second = _learning(played, _TAKES // 2, half_s)
    return Learnt(*first, *second)


def _behaviour(places: int) -> str:
    return f"latency={_LATENCY_S * 1000:.0f};concurrency={places}"


def _learning(played: Scene, places: int, seconds: float) -> tuple[float, float, float]:
    """The limit, the throughput and the part refused upstream in the last third of the time."""
    limits: list[int] = []

    async def look() -> None:
        while True:
            (target,) = (await asyncio.to_thread(played.ask, "/api/v1/targets")).json["items"]
            limits.append(target["limit"])
            await asyncio.sleep(0.05)

    async def load(callers: Callers) -> tuple[int, int]:
        await callers.in_turn(question(), 4 * places, seconds * 2 / 3)
        tally = played.emulator.counters.model("a")
        attempts, completed = tally.attempts, tally.completed
        looking = asyncio.create_task(look())
        await callers.in_turn(question(), 4 * places, seconds / 3)
        looking.cancel()
        return tally.attempts - attempts, tally.completed - completed

    attempts, completed = calling(played.port, load)
    throughput = completed / (seconds / 3)
    return statistics.median(limits) / places, throughput * _LATENCY_S / places, 1 - completed / attempts


_OVERLOAD = (
    at_least("goodput_of_peak", 0.85),
    at_most("waited_max_s", 5),
    exactly("without_retry_after", 0),
    exactly("health_failed", 0),
    at_most("back_to_normal_s", 5),
)

ROWS = (
    Row(
        "F34",
        f"{_TIMES} times the calls that a target takes ({_CAPACITY_PER_S:.0f}/s), its limit declared",
        f"调用量为目标容量（{_CAPACITY_PER_S:.0f} 次/秒）的 {_TIMES} 倍，已声明其上限",
        known_limit,
        _OVERLOAD,
        60,
        {"concurrency": _KNOWN},
    ),
    Row(
        "F34a",
        "the same, its limit found",
        "同上，上限自行发现",
        unknown_limit,
        tuple(bound for bound in _OVERLOAD if bound.figure != "without_retry_after"),
        60,
    ),
    Row(
        "F35",
        "two apps, one sends 20 times as many calls",
        "两个应用，其一发送 20 倍的调用",
        two_apps,
        (at_most("p99_of_alone", 1.5), at_least("jain_index", 0.95), at_least("jain_index_weighted", 0.95)),
        25,
        _FAIR,
    ),
    Row(
        "limit",
        f"a target that refuses more than {_TAKES} calls at once; then more than {_TAKES // 2}",
        f"目标同时只接受 {_TAKES} 个调用；随后只接受 {_TAKES // 2} 个",
        learnt,
        (
            at_least("limit_of_capacity", 0.8),
            at_most("limit_of_capacity", 1.2),
            at_least("limit_of_half", 0.8),
            at_most("limit_of_half", 1.2),
        ),
        60,
        _LEARNS,
    ),
)
