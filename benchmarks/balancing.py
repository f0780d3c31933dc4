"""How well calls are balanced, in simulated time: how long calls take when targets are 80 % busy.

A call's length is drawn from the output lengths that were measured of coding agents: the lognormal distribution with a
median of 252 tokens and a sigma of 1.42 fits the 194,361 steps of one vendor in SyFI TraceLab (University of
Washington, <https://tracelab.cs.washington.edu/exp/llm_generation/token_length_distribution/>: mean 690, p50 252, p90
1,671, p99 6,571; the fit has 691, 252, 1,555 and 6,860). What a token takes is assumed, not measured: 20 ms at a target
of speed 1 whatever else it does, after a first token of 300 ms at the median (lognormal, sigma 0.5); a tenth of that of
them for users whose beginning the target has served in the last five minutes. A target serves as many calls at once as
it has slots; others wait there, in order. Calls come at random (Poisson) from 500 users, the n-th as often as 1/n^0.6.
"""

import heapq
import math
import random
from collections import deque
from collections.abc import Callable
from itertools import accumulate
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from msgspec import Struct
from rich.console import Console
from rich.table import Table

from dujiang.core.money import unpriced
from dujiang.resilience.balancer import Balancer, compile_balancers
from dujiang.resilience.candidate import TargetLoad
from dujiang.resilience.settings import BalancingSettings

_RESULT = Path(__file__).parent / "results" / "balancing.json"
_MEDIAN_TOKENS, _TOKENS_SIGMA = 252.0, 1.42
_MEDIAN_FIRST_S, _FIRST_SIGMA = 0.3, 0.5
_TOKEN_S = 0.02
_WARM_RATIO, _WARM_FOR_S = 0.1, 300.0
_USERS, _USERS_SKEW = 500, 0.6
_UTILISATION = 0.8
_AIM = 0.6


class Scene(Struct, frozen=True):
    """Targets by their speeds, each with so many slots."""

    name: str
    speeds: tuple[float, ...]
    slots: int


class Arrival(Struct, frozen=True):
    """A call before anything is known of its target. Seconds are those at speed 1."""

    at_s: float
    user: int
    first_s: float
    rest_s: float


class Row(Struct, frozen=True):
    """One strategy in one scene: medians over the seeds. `warm` is the share of calls whose beginning was cached."""

    scene: str
    strategy: str
    wait_p99_s: float
    p50_s: float
    p99_s: float
    warm: float
    ratio: float


class Report(Struct, frozen=True):
    """`reaches_aim` names the scenes in which the p99 of least loaded is at most 0.6 of round robin's."""

    name: str
    protocol: str
    data: str
    aim: float
    reaches_aim: list[str]
    rows: list[Row]


SCENES = (
    Scene("3 equal targets, 1 slot each", (1.0, 1.0, 1.0), 1),
    Scene("3 equal targets, 8 slots each", (1.0, 1.0, 1.0), 8),
    Scene("8 equal targets, 4 slots each", (1.0,) * 8, 4),
    Scene("3 targets of speeds 1.15, 1, 0.85, 8 slots each", (1.15, 1.0, 0.85), 8),
    Scene("3 targets of speeds 2, 1, 0.5, 8 slots each", (2.0, 1.0, 0.5), 8),
)
STRATEGIES = {  # what they are called here: what the document calls them
    "round robin": "weighted",
    "weighted by speed": "weighted",
    "least loaded": "least_loaded",
    "least loaded by speed": "least_loaded",
    "latency": "latency",
    "sticky": "sticky",
    "sticky within slots": "sticky",
}


class SimulatedTarget:
    """A candidate that serves simulated calls."""

    def __init__(self, n: int, speed: float, weight: float, slots: int) -> None:
        self.provider, self.name, self.credential = "simulated", f"target-{n}", ""
        self.speed = speed
        self.weight = weight
        self.price = unpriced
        self.credit = 0.0
        self.load = TargetLoad()
        self.free = slots
        self.waiting: deque[Arrival] = deque()
        self.served_at: dict[int, float] = {}


class Simulation:
    """One strategy over one list of arrivals, event by event."""

    def __init__(self, scene: Scene, strategy: str, seed: int) -> None:
        self.now_s = 0.0
        self.waits_s: list[float] = []
        self.durations_s: list[float] = []
        self.warm = 0
        self._is_within_slots = strategy.endswith("within slots")
        by_speed = strategy.endswith("by speed")
        self._targets = [
            SimulatedTarget(n, speed, speed if by_speed else 1.0, scene.slots) for n, speed in enumerate(scene.speeds)
        ]
        self._balancer = _balancer(strategy, self._targets, lambda: self.now_s, random.Random(seed).random)  # noqa: S311 (reproducible on purpose)
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._count = 0

    def run(self, arrivals: list[Arrival]) -> None:
        for arrival in arrivals:
            self._until(arrival.at_s)
            self.now_s = arrival.at_s
            target = self._balancer.choose(self._candidates(), f"user-{arrival.user}")
            target.load.in_flight += 1
            target.waiting.append(arrival)
            self._start(target)
        self._until(math.inf)

    def _candidates(self) -> list[SimulatedTarget]:
        """All of them; within slots those that have a free one, as long as there are any."""
        idle = [target for target in self._targets if target.free] if self._is_within_slots else []
        return idle or self._targets

    def _until(self, at_s: float) -> None:
        while self._events and self._events[0][0] <= at_s:
            self.now_s, _, happen = heapq.heappop(self._events)
            happen()

    def _at(self, at_s: float, happen: Callable[[], None]) -> None:
        self._count += 1
        heapq.heappush(self._events, (at_s, self._count, happen))

    def _start(self, target: SimulatedTarget) -> None:
        """Let the next one in, if there is one and room for it."""
        if not target.free or not target.waiting:
            return
        target.free -= 1
        arrival = target.waiting.popleft()
        is_warm = self.now_s - target.served_at.get(arrival.user, -math.inf) <= _WARM_FOR_S
        self.warm += is_warm
        first_s = arrival.first_s * (_WARM_RATIO if is_warm else 1.0) / target.speed
        self.waits_s.append(self.now_s - arrival.at_s)
        first_at_s = self.now_s + first_s
        self._at(first_at_s, lambda: target.load.first_token.observe(first_at_s - arrival.at_s, self.now_s))
        self._at(first_at_s + arrival.rest_s / target.speed, lambda: self._end(target, arrival))

    def _end(self, target: SimulatedTarget, arrival: Arrival) -> None:
        target.load.in_flight -= 1
        target.free += 1
        target.served_at[arrival.user] = self.now_s
        self.durations_s.append(self.now_s - arrival.at_s)
        self._start(target)


def _balancer(
    strategy: str, targets: list[SimulatedTarget], clock: Callable[[], float], draw: Callable[[], float]
) -> Balancer[SimulatedTarget]:
    settings = msgspec.convert({"strategy": STRATEGIES[strategy]}, BalancingSettings)
    return compile_balancers(settings, targets, clock, draw).streamed


def _arrivals(scene: Scene, calls: int, seed: int) -> list[Arrival]:
    """So many calls that all slots together are 80 % busy when none is warm."""
    draws = random.Random(seed)  # noqa: S311 (reproducible on purpose)
    mean_tokens = _MEDIAN_TOKENS * math.exp(_TOKENS_SIGMA**2 / 2)
    mean_s = _MEDIAN_FIRST_S * math.exp(_FIRST_SIGMA**2 / 2) + mean_tokens * _TOKEN_S
    rate = _UTILISATION * sum(scene.speeds) * scene.slots / mean_s
    users = list(accumulate((n + 1) ** -_USERS_SKEW for n in range(_USERS)))
    at_s = 0.0
    arrivals: list[Arrival] = []
    for _ in range(calls):
        at_s += draws.expovariate(rate)
        user = draws.choices(range(_USERS), cum_weights=users)[0]
        first_s = draws.lognormvariate(math.log(_MEDIAN_FIRST_S), _FIRST_SIGMA)
        tokens = draws.lognormvariate(math.log(_MEDIAN_TOKENS), _TOKENS_SIGMA)
        arrivals.append(Arrival(at_s, user, first_s, tokens * _TOKEN_S))
    return arrivals


def _percentile(values: list[float], part: float) -> float:
    return sorted(values)[math.ceil(part * len(values)) - 1]


def _median(values: list[float]) -> float:
    return round(_percentile(values, 0.5), 3)


def _rows(scene: Scene, calls: int, seeds: int) -> list[Row]:
    """Every strategy over the same arrivals, seed by seed; ratios are of the same seed."""
    found: dict[str, list[tuple[float, float, float, float]]] = {strategy: [] for strategy in STRATEGIES}
    for seed in range(seeds):
        arrivals = _arrivals(scene, calls, seed)
        for strategy, figures in found.items():
            run = Simulation(scene, strategy, seed)
            run.run(arrivals)
            durations_s = run.durations_s
            p99s = _percentile(run.waits_s, 0.99), _percentile(durations_s, 0.5), _percentile(durations_s, 0.99)
            figures.append((*p99s, run.warm / calls))
    control = found["round robin"]
    rows: list[Row] = []
    for strategy, figures in found.items():
        wait_p99_s, p50_s, p99_s, warm = (_median(list(column)) for column in zip(*figures, strict=True))
        ratio = _median([each[2] / base[2] for each, base in zip(figures, control, strict=True)])
        rows.append(Row(scene.name, strategy, wait_p99_s, p50_s, p99_s, warm, ratio))
    return rows


def main(
    calls: Annotated[int, typer.Option(min=100, help="Calls of each run.")] = 20_000,
    seeds: Annotated[int, typer.Option(min=1, help="Runs of each; the medians are told.")] = 5,
    json: Annotated[Path, typer.Option(help="Where the report goes.")] = _RESULT,
) -> None:
    """Simulate how well calls are balanced."""
    rows = [row for scene in SCENES for row in _rows(scene, calls, seeds)]
    reaching = [row.scene for row in rows if row.strategy == "least loaded" and row.ratio <= _AIM]
    protocol = f"medians of {seeds} seeds of {calls} calls at {_UTILISATION:.0%} of all slots; simulated time"
    data = "output lengths lognormal, median 252, sigma 1.42 (fit to SyFI TraceLab); speeds and first tokens assumed"
    report = Report("balancing", protocol, data, _AIM, reaching, rows)
    json.write_bytes(msgspec.json.format(msgspec.json.encode(report), indent=1) + b"\n")
    for scene in SCENES:
        table = Table(
            "strategy", "wait p99 s", "p50 s", "p99 s", "warm", "p99 × round robin", box=None, title=scene.name
        )
        for row in rows:
            if row.scene == scene.name:
                figures = (row.wait_p99_s, row.p50_s, row.p99_s)
                table.add_row(row.strategy, *(f"{s:.1f}" for s in figures), f"{row.warm:.0%}", f"{row.ratio:.2f}")
        Console().print(table)


if __name__ == "__main__":
    typer.run(main)
