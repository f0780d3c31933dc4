"""Choosing among targets that can serve the same call."""

from collections.abc import Callable, Sequence
from typing import Generic, NamedTuple, Protocol, TypeVar

from dujiang.resilience.by_cost import ByCost
from dujiang.resilience.by_latency import ByLatency, first_token, per_token
from dujiang.resilience.by_load import LeastLoaded, Weighted
from dujiang.resilience.candidate import Candidate
from dujiang.resilience.settings import BalancingSettings
from dujiang.resilience.slow_start import SlowStart
from dujiang.resilience.sticky import Sticky

C = TypeVar("C", bound=Candidate)


class Balancer(Protocol[C]):
    """A way to choose one of the targets that may be asked now."""

    def choose(self, candidates: Sequence[C], key: str | None = None) -> C:
        """One of the candidates, for the call that sticks by `key`. `IndexError` where there is none."""
        ...


class Balancers(NamedTuple, Generic[C]):
    """Those of one model: for streamed and for whole answers, whose latencies are different things."""

    streamed: Balancer[C]
    whole: Balancer[C]


def compile_balancers(
    settings: BalancingSettings, targets: Sequence[C], clock: Callable[[], float], random: Callable[[], float]
) -> Balancers[C]:
    """The balancers of a model that has these targets; candidates are some of them.

    `clock` is monotonic, in seconds; `random` draws from [0, 1).
    """
    slow_start = SlowStart(clock)
    match settings.strategy:
        case "latency":
            return Balancers(
                ByLatency(first_token, slow_start, random, clock), ByLatency(per_token, slow_start, random, clock)
            )
        case "least_loaded":
            balancer: Balancer[C] = LeastLoaded(slow_start, random)
        case "weighted":
            balancer = Weighted(slow_start)
        case "cost":
            balancer = ByCost(targets, slow_start)
        case "sticky":
            balancer = Sticky(targets, slow_start, LeastLoaded(slow_start, random))
    return Balancers(balancer, balancer)
