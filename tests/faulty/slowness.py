"""Targets that say nothing: every clock ends what it must, and a call never outlives its deadline."""

from pathlib import Path

from gateway import eventually
from msgspec import Struct

from faulty.row import Row, at_most, exactly
from faulty.traffic import Callers, Heard, calling, quantile, question, share
from faulty.upstreams import Scene, scene

_CALLERS = 50
_TOTAL_S, _FIRST_TOKEN_S = 1.0, 0.5
_CLOCKS = {"timeouts": {"total_s": _TOTAL_S, "first_token_s": _FIRST_TOKEN_S, "idle_s": 0.5}}
_ONE_TRY = {**_CLOCKS, "retry": {"max_attempts": 1}}


def _over_ms(calls: list[Heard], clock_s: float) -> float:
    """By how much the latest of some calls outlived a clock."""
    return max(call.took_ms for call in calls) - clock_s * 1000


def _stuck(played: Scene, *targets: str) -> int:
    """Calls upstream that are still there two seconds after their callers were answered."""
    try:
        eventually(lambda: not played.in_flight(*targets), 2)
    except AssertionError:
        return played.in_flight(*targets)
    return 0


class FirstToken(Struct, frozen=True):
    success: float
    first_ms_max: float
    """Until the first byte of an answer: that of the target which was asked after the clock had ended the first."""
    overshoot_ms: float
    """Of the deadline, where both targets are slow."""
    control_overshoot_ms: float
    """Of the same time, where a target answers exactly then."""


def first_token(data_dir: Path, seconds: float) -> FirstToken:
    models = {"m": ("a", "b"), "slow": ("a", "c"), "punctual": ("p",)}
    behaviours = {"a": "ttft=30000", "b": "ttft=10", "c": "ttft=30000", "p": f"latency={_TOTAL_S * 1000:.0f}"}
    patient = {"punctual": {"timeouts": {"total_s": 10}}}
    with scene(data_dir, behaviours, _CLOCKS, models=models, of_models=patient) as played:

        async def load(callers: Callers):
            heard = await callers.at_rate(question(stream=True), 20, seconds)
            slow = await callers.at_once(question("slow", stream=True), _CALLERS)
            control = await callers.at_once(question("punctual"), _CALLERS)
            return heard, slow, control

        heard, slow, control = calling(played.port, load)
    return FirstToken(
        share(heard),
        max(call.first_ms for call in heard),
        _over_ms(slow, _TOTAL_S),
        _over_ms(control, _TOTAL_S),
    )


class BlackHole(Struct, frozen=True):
    overshoot_ms: float
    control_overshoot_ms: float
    """Of the same time, where a target answers exactly then."""
    stuck: int
    served_after: float


_HOLE = {**_ONE_TRY, "concurrency": {"limit": _CALLERS, "adaptive": False}, "breaker": {"open_s": 0.5}}


def black_hole(data_dir: Path, seconds: float) -> BlackHole:
    """A target that accepts calls and is silent, with as many places as callers: were one not freed, one would wait."""
    del seconds
    models = {"m": ("a",), "punctual": ("p",)}
    behaviours = {"a": "hang", "p": f"latency={_TOTAL_S * 1000:.0f}"}
    patient = {"punctual": {"timeouts": {"total_s": 10}}}
    with scene(data_dir, behaviours, _HOLE, models=models, of_models=patient) as played:

        async def load(callers: Callers):
            hung = await callers.at_once(question(), _CALLERS)
            return hung, await callers.at_once(question("punctual"), _CALLERS)

        hung, control = calling(played.port, load)
        stuck = _stuck(played, "a")
        played.behave(a="latency=300")
        eventually(lambda: played.chat("m").status == 200)

        async def again(callers: Callers):
            return await callers.at_once(question(), _CALLERS)

        after = calling(played.port, again)
    return BlackHole(_over_ms(hung, _TOTAL_S), _over_ms(control, _TOTAL_S), stuck, share(after))


class KeptAlive(Struct, frozen=True):
    timed_out: float
    after_ms_p50: float
    overshoot_ms: float
    """Of `first_token_s`, by the latest of all."""
    stuck: int


def kept_alive(data_dir: Path, seconds: float) -> KeptAlive:
    del seconds
    with scene(data_dir, {"a": "ttft=60000;ok_comments"}, _ONE_TRY) as played:

        async def load(callers: Callers):
            return await callers.at_once(question(stream=True), _CALLERS)

        heard = calling(played.port, load)
        stuck = _stuck(played, "a")
    return KeptAlive(
        sum(call.status == 504 for call in heard) / len(heard),
        quantile((call.took_ms for call in heard), 50),
        _over_ms(heard, _FIRST_TOKEN_S),
        stuck,
    )


ROWS = (
    Row(
        "F9",
        "the first token of one of two targets takes 30 s; then that of both",
        "两个目标之一的首个 token 需要 30 s；随后两者皆是",
        first_token,
        (exactly("success", 1), at_most("overshoot_ms", 50)),
        10,
        _CLOCKS,
    ),
    Row(
        "F10",
        f"the only target accepts {_CALLERS} calls and is silent",
        f"唯一的目标接受 {_CALLERS} 个调用后毫无回应",
        black_hole,
        (at_most("overshoot_ms", 50), exactly("stuck", 0), exactly("served_after", 1)),
        resilience=_HOLE,
    ),
    Row(
        "F11",
        "keep-alive comments for ever, no token",
        "永远只有保活注释，没有 token",
        kept_alive,
        (exactly("timed_out", 1), at_most("overshoot_ms", 50), exactly("stuck", 0)),
        resilience=_ONE_TRY,
    ),
)
