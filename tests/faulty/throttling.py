"""Targets that answer 429, or take a credential no longer: left alone, and not asked again to be told so."""

from pathlib import Path

from callers import post
from gateway import serving
from msgspec import Struct

from dujiang.emulator.background import running
from faulty.row import Row, at_least, at_most, exactly
from faulty.traffic import Callers, calling, gaps_s, question, share, watched
from faulty.upstreams import KEY, scene


class ToldWhen(Struct, frozen=True):
    earliest_s: float
    """The least time from one call of the throttled target to the next."""
    success: float
    control_success: float
    amplification: float


def told_when(data_dir: Path, seconds: float) -> ToldWhen:
    with scene(data_dir, {"a": "latency=10", "b": "latency=10"}) as played:

        async def load(callers: Callers):
            work = callers.at_rate(question(), 50, seconds)
            return await watched(work, lambda: played.attempts("a"))

        control, _ = calling(played.port, load)
        before = played.attempts("a", "b")
        played.behave(a="status=429;retry_after=2")
        heard, moments = calling(played.port, load)
        amplification = (played.attempts("a", "b") - before) / len(heard)
    return ToldWhen(min(gaps_s(moments), default=seconds), share(heard), share(control), amplification)


class NotTold(Struct, frozen=True):
    throughput_of_allowed: float
    refused_upstream: float
    """The part of all calls upstream that was answered 429."""
    success: float


_ALLOWED_PER_S = 20


def not_told(data_dir: Path, seconds: float) -> NotTold:
    """The emulator's bucket is emptied first: what is measured is the rate, not the burst."""
    with scene(data_dir, {"a": f"rate={_ALLOWED_PER_S * 60};status=429;retry_after=unknown"}) as played:
        straight = post("/v1/chat/completions", b'{"model":"a","messages":[{"role":"user","content":"x"}]}', key=KEY)

        async def empty(callers: Callers) -> None:
            while all(call.status == 200 for call in await callers.at_once(straight, 20)):
                pass

        port = int(played.emulator.url.rsplit(":", 1)[1])
        calling(port, empty)
        tally = played.emulator.counters.model("a")
        attempts, completed = tally.attempts, tally.completed
        heard = calling(played.port, lambda callers: callers.at_rate(question(), 3 * _ALLOWED_PER_S, seconds))
        attempts, completed = tally.attempts - attempts, tally.completed - completed
    took_s = max(call.ended_s for call in heard) - heard[0].began_s
    return NotTold(completed / (_ALLOWED_PER_S * took_s), 1 - completed / attempts, share(heard))


class MoneyGone(Struct, frozen=True):
    calls_to_the_account: int
    success: float


def money_gone(data_dir: Path, seconds: float) -> MoneyGone:
    """The first call is alone: those that are on their way already cannot know."""
    with scene(data_dir, {"a": "error=insufficient_quota", "b": "ok"}) as played:

        async def load(callers: Callers):
            first = [await callers.ask(question()) for _ in range(4)]
            return first + await callers.at_rate(question(), 100, seconds)

        heard = calling(played.port, load)
        return MoneyGone(played.attempts("a"), share(heard))


class KeyRefused(Struct, frozen=True):
    calls_with_the_key: int
    success: float


def key_refused(data_dir: Path, seconds: float) -> KeyRefused:
    """As `money_gone`; `sk-invalid` is a key that the emulator refuses."""
    with scene(data_dir, {"a": "ok"}, keys={"good": KEY, "bad": "sk-invalid"}) as played:

        async def load(callers: Callers):
            first = [await callers.ask(question()) for _ in range(4)]
            return first + await callers.at_rate(question(), 100, seconds)

        heard = calling(played.port, load)
        return KeyRefused(played.emulator.counters.key("sk-invalid").attempts, share(heard))


class TokenExpired(Struct, frozen=True):
    token_fetches: int
    success: float
    amplification: float


_ERNIE = """
providers:
  ernie: {kind: ernie, base_url: "${ERNIE}", allow_private_network: true,
          credentials: [{name: main, secret: "AKcanary1:SKcanary2"}]}
models:
  m: {targets: [{provider: ernie, model: ERNIE-4.0-8K}]}
roles: {admin: {permissions: ["*"]}}
"""
_PATH = "completions_pro"
_TOGETHER = 200
_BEFORE = 250


def token_expired(data_dir: Path, seconds: float) -> TokenExpired:
    """A token that has served some calls has expired when 200 come at once. The next serves as many."""
    del seconds
    with (
        running({_PATH: f"token_expired_after={_BEFORE}"}) as emulator,
        serving(data_dir, _ERNIE, environ={"ERNIE": emulator.url}) as gateway,
    ):

        async def before(callers: Callers) -> None:
            for _ in range(_BEFORE // 10):
                await callers.at_once(question(), 10)

        calling(gateway.port, before)
        fetches, tally = emulator.counters.token_fetches, emulator.counters.model(_PATH)
        attempts = tally.attempts

        async def together(callers: Callers):
            return await callers.at_once(question(), _TOGETHER)

        heard = calling(gateway.port, together)
        return TokenExpired(
            emulator.counters.token_fetches - fetches, share(heard), (tally.attempts - attempts) / _TOGETHER
        )


ROWS = (
    Row(
        "F2",
        "one of two targets answers 429 with `Retry-After: 2`",
        "两个目标之一返回带 `Retry-After: 2` 的 429",
        told_when,
        (at_least("earliest_s", 2), exactly("success", 1), at_most("amplification", 1.2)),
        10,
    ),
    Row(
        "F3",
        f"the only target answers 429 without a word above {_ALLOWED_PER_S} calls/s; three times as many come",
        f"唯一的目标在每秒 {_ALLOWED_PER_S} 次以上返回不带说明的 429；到达的调用是其三倍",
        not_told,
        (at_least("throughput_of_allowed", 0.8), at_most("throughput_of_allowed", 1.2)),
        15,
    ),
    Row(
        "F4",
        "the account of one of two targets has no money left",
        "两个目标之一的账户余额用尽",
        money_gone,
        (exactly("calls_to_the_account", 1), exactly("success", 1)),
        5,
    ),
    Row(
        "F5",
        "one of two keys is refused with 401",
        "两个密钥之一被 401 拒绝",
        key_refused,
        (exactly("calls_with_the_key", 1), exactly("success", 1)),
        5,
    ),
    Row(
        "F6",
        f"an access token expires under {_TOGETHER} calls at once",
        f"访问令牌在 {_TOGETHER} 个并发调用时过期",
        token_expired,
        (exactly("token_fetches", 1), exactly("success", 1)),
    ),
)
