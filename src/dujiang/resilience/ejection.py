"""How many targets of a pool may be out at once: a pool is never emptied by its own breakers.

As Envoy's `max_ejection_percent`: when most of a pool fails, the fault is likely a common one, and what is left is
still to be asked.
"""

from collections.abc import Sequence
from math import inf
from typing import Generic, NamedTuple, Protocol, TypeVar

from dujiang.resilience.breaker import Breaker


class Member(Protocol):
    """A target of a pool, with the breakers that it depends on: its own, its credential's."""

    @property
    def breakers(self) -> Sequence[Breaker]: ...

    @property
    def barred_until(self) -> float:
        """The monotonic moment before which it must not be asked for another reason than failing.

        A cool-down, something parked. Past when there is none, infinite when only an operator can tell.
        """
        ...


T = TypeVar("T", bound=Member)


class Pool(NamedTuple, Generic[T]):
    """Whom to ask now. A balancer chooses among `ready`, in the pool's order; when none of them is left to be tried,
    the `last_resort`, the soonest to recover first, by `enter(is_last_resort=True)`.

    `recovers_at` is the earliest monotonic moment at which somebody may be well again: past when somebody is, or when
    the outcome of a probe is awaited; infinite when only an operator can tell. It is worth waiting for. `asked_at` is
    when a call may be let in at the earliest, as the last resort at worst: that is one call's, and no time to wait for.
    """

    ready: Sequence[T]
    last_resort: Sequence[T]
    recovers_at: float
    asked_at: float


def usable(members: Sequence[T], max_ejected_ratio: float, now: float) -> Pool[T]:
    """Divide a model's targets, all of them (what a call has tried already is left out of the answer, not of the
    question). At most `max_ejected_ratio` of those that may be asked at all are out, and never the last.

    `now` is of the breakers' clock.
    """
    if _are_well(members, now):
        return Pool(members, (), now, now)
    askable = [each for each in members if each.barred_until <= now and not _is_shut(each)]
    ready: list[T] = []
    failing: list[T] = []
    for each in askable:
        (ready if all(breaker.allows() for breaker in each.breakers) else failing).append(each)
    failing.sort(key=_retry_at)
    most_out = min(int(max_ejected_ratio * len(askable)), len(askable) - 1)
    last_resort = failing[: max(0, len(failing) - most_out)]
    if ready:
        return Pool(ready, last_resort, now, now)
    recovers_at = min((max(each.barred_until, _retry_at(each)) for each in members), default=inf)
    asked_at = min(map(_last_resort_at, last_resort), default=inf)
    return Pool(ready, last_resort, recovers_at, min(recovers_at, asked_at))


def _are_well(members: Sequence[Member], now: float) -> bool:
    """In plain loops: asked for every attempt, and generators would cost more than the question."""
    for member in members:
        if member.barred_until > now:
            return False
        for breaker in member.breakers:
            if breaker.state != "closed":
                return False
    return True


def _is_shut(member: Member) -> bool:
    return any(breaker.state in {"drained", "ejected"} for breaker in member.breakers)


def _retry_at(member: Member) -> float:
    return max((breaker.retry_at for breaker in member.breakers), default=0.0)


def _last_resort_at(member: Member) -> float:
    return max((min(breaker.retry_at, breaker.last_resort_at) for breaker in member.breakers), default=0.0)
