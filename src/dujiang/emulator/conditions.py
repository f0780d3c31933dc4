"""Decides which calls of a conditional behaviour fail: by count, by seeded chance, by a rate, by calls in flight."""

import math
import time
from collections.abc import Callable, Mapping
from hashlib import blake2b

from msgspec import Struct
from msgspec.structs import replace

from dujiang.emulator.behaviour import Behaviour, Condition
from dujiang.emulator.dialect import FULL_ALLOWANCE, Allowance, Reason

_REASONS: Mapping[str, Reason] = {"rate": "throttled", "concurrency": "throttled", "quota_after": "quota"}


class Decision(Struct, frozen=True):
    """What this one call gets, without any condition left, and the allowance its headers show."""

    behaviour: Behaviour
    allowance: Allowance = FULL_ALLOWANCE


class _Past(Struct):
    """What a condition remembers of its calls. `permits` is a token bucket, full at first."""

    permits: float
    filled_at: float
    calls: int = 0


class Conditions:
    """The memory of every condition, one for each pair of model and behaviour.

    `clock` tells monotonic seconds. The same seed, model and behaviour give the same calls the same fate.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._pasts: dict[tuple[str, Behaviour], _Past] = {}

    def reset(self) -> None:
        """Let every condition begin anew."""
        self._pasts.clear()

    def reset_model(self, model: str) -> None:
        """Let the conditions of one model begin anew."""
        self._pasts = {key: past for key, past in self._pasts.items() if key[0] != model}

    def decide(self, model: str, behaviour: Behaviour, in_flight: int, usual: Mapping[Reason, str]) -> Decision:
        """The fate of a call. `in_flight` counts the model's calls, this one too; `usual` names the default errors."""
        condition = behaviour.condition
        if condition is None:
            return Decision(_with_error(behaviour, usual["throttled"]) if behaviour.has_wait else behaviour)
        past = self._past(model, behaviour, condition)
        past.calls += 1
        if condition.name == "rate":
            return self._by_rate(past, behaviour, condition.value, usual)
        lot = f"{behaviour.seed}/{model}/{past.calls}"
        if not _is_met(condition, past.calls, in_flight, lot):
            return Decision(behaviour.passing())
        return Decision(_failing(behaviour, usual[_REASONS.get(condition.name, "broken")], usual))

    def _past(self, model: str, behaviour: Behaviour, condition: Condition) -> _Past:
        past = self._pasts.get((model, behaviour))
        if past is None:
            past = self._pasts[(model, behaviour)] = _Past(condition.value, self._clock())
        return past

    def _by_rate(self, past: _Past, behaviour: Behaviour, rpm: float, usual: Mapping[Reason, str]) -> Decision:
        """A token bucket of `rpm` permits that refills evenly over a minute."""
        now = self._clock()
        past.permits = min(rpm, past.permits + (now - past.filled_at) * rpm / 60)
        past.filled_at = now
        if past.permits >= 1:
            past.permits -= 1
            allowance = Allowance(int(rpm), int(past.permits), (rpm - past.permits) * 60 / rpm)
            return Decision(behaviour.passing(), allowance)
        allowance = Allowance(int(rpm), 0, (rpm - past.permits) * 60 / rpm)
        failing = _failing(behaviour, usual["throttled"], usual)
        if not failing.has_wait and failing.fault is None:
            failing = replace(failing, retry_after=str(math.ceil((1 - past.permits) * 60 / rpm)))
        return Decision(failing, allowance)


def _is_met(condition: Condition, calls: int, in_flight: int, lot: str) -> bool:
    match condition.name:
        case "flaky":
            return _chance(lot) < condition.value
        case "fail_first":
            return calls <= condition.value
        case "concurrency":
            return in_flight > condition.value
        case _:
            return calls > condition.value


def _chance(lot: str) -> float:
    """A number from 0 to below 1 that looks drawn, the same for the same lot."""
    return int.from_bytes(blake2b(lot.encode(), digest_size=8).digest()) / 2**64


def _failing(behaviour: Behaviour, error: str, usual: Mapping[Reason, str]) -> Behaviour:
    """The behaviour as it fails now: by its own terms, else by `error`."""
    unconditional = replace(behaviour, condition=None)
    if not behaviour.has_failure:
        return replace(unconditional, error=error)
    return _with_error(unconditional, usual["throttled"]) if behaviour.has_wait else unconditional


def _with_error(behaviour: Behaviour, error: str) -> Behaviour:
    """A wait needs an error to go with: the given one where the behaviour names none."""
    is_named = behaviour.status is not None or behaviour.error is not None or behaviour.fault is not None
    return behaviour if is_named else replace(behaviour, error=error)
