"""Targets that answer with errors: one of three, all, every second call; and clients that repeat what failed."""

import asyncio
import itertools
import time
from pathlib import Path

import openai
from gateway import ADMIN_KEY
from msgspec import Struct

from faulty.row import Row, at_least, at_most, exactly
from faulty.traffic import Callers, calling, quantile, question, share
from faulty.upstreams import scene

_RATE = 100.0


class OneOfThree(Struct, frozen=True):
    success: float
    control_success: float
    amplification: float
    """Calls that arrived upstream for each call of a client."""
    calls_to_the_failing: int
    p99_ms: float
    control_p99_ms: float


def one_of_three(data_dir: Path, seconds: float) -> OneOfThree:
    prompt = {"a": "latency=20", "b": "latency=20", "c": "latency=20"}

    async def load(callers: Callers):
        return await callers.at_rate(question(), _RATE, seconds)

    with scene(data_dir, prompt) as played:
        control = calling(played.port, load)
        before, failing_before = played.attempts("a", "b", "c"), played.attempts("a")
        played.behave(a="status=500")
        heard = calling(played.port, load)
        return OneOfThree(
            share(heard),
            share(control),
            (played.attempts("a", "b", "c") - before) / len(heard),
            played.attempts("a") - failing_before,
            quantile((call.took_ms for call in heard), 99),
            quantile((call.took_ms for call in control), 99),
        )


class AllDown(Struct, frozen=True):
    refused_p99_ms: float
    """Of calls that were refused while nobody could be asked."""
    control_p99_ms: float
    """Of calls that were answered at once."""
    without_retry_after: int
    calls_upstream_per_s: float
    recovered_s: float
    """From the return of the targets until the first good answer …"""
    settled_s: float
    """… and until the last refusal."""


_AFTER_S = 6.0
_ALL_DOWN = {"concurrency": {"max_wait_s": 0}}


def all_down(data_dir: Path, seconds: float) -> AllDown:
    with scene(data_dir, {"a": "ok", "b": "ok"}, _ALL_DOWN) as played:
        request = question()

        async def load(callers: Callers, for_s: float):
            return await callers.at_rate(request, 50, for_s)

        control = calling(played.port, lambda callers: load(callers, seconds / 4))
        played.behave(a="status=503", b="status=503")
        calling(played.port, lambda callers: load(callers, 1))
        before = played.attempts("a", "b")
        down = calling(played.port, lambda callers: load(callers, seconds))
        upstream = played.attempts("a", "b") - before
        refused = [call for call in down if b"no_target" in call.body or b"can be asked now" in call.body]
        back_s = time.monotonic()
        played.behave(a="ok", b="ok")
        after = calling(played.port, lambda callers: load(callers, min(_AFTER_S, seconds + 1)))
    good = [call.ended_s for call in after if call.is_good]
    bad = [call.ended_s for call in after if not call.is_good]
    return AllDown(
        quantile((call.took_ms for call in refused), 99),
        quantile((call.took_ms for call in control), 99),
        sum(call.retry_after_s is None for call in refused),
        upstream / seconds,
        min(good) - back_s,
        max(bad, default=back_s) - back_s,
    )


class Flapping(Struct, frozen=True):
    opened_per_min: float
    shortest_open_s: float
    """The least time from one opening to the next."""
    success: float
    amplification: float


_OPEN_S = 2.0
_FLAPPING = {"breaker": {"open_s": _OPEN_S}}


def flapping(data_dir: Path, seconds: float) -> Flapping:
    with scene(data_dir, {"a": "flaky=0.5;status=500;seed=7", "b": "ok"}, _FLAPPING) as played:
        openings: list[float] = []

        def openings_seen() -> int:
            is_open = played.health["a"] == "open"
            if is_open and not openings_seen.was_open:
                openings.append(time.monotonic())
            openings_seen.was_open = is_open
            return 0

        openings_seen.was_open = False

        async def load(callers: Callers):
            work = callers.at_rate(question(), 50, seconds)

            async def look() -> None:
                while True:
                    await asyncio.to_thread(openings_seen)
                    await asyncio.sleep(0.02)

            looking = asyncio.create_task(look())
            try:
                return await work
            finally:
                looking.cancel()

        heard = calling(played.port, load)
        gaps = [later - earlier for earlier, later in itertools.pairwise(openings)]
        return Flapping(
            len(openings) * 60 / seconds,
            min(gaps, default=seconds),
            share(heard),
            played.attempts("a", "b") / len(heard),
        )


class ClientRetries(Struct, frozen=True):
    amplification: float
    """Calls that arrived upstream for each call of a program, which its SDK may have sent three times."""
    sent_per_call: float
    calls_answered: int


def client_retries(data_dir: Path, seconds: float) -> ClientRetries:
    with scene(data_dir, {"a": "status=500", "b": "status=500"}) as played:
        calls = int(20 * seconds)

        async def ask(client: openai.AsyncOpenAI) -> bool:
            try:
                await client.chat.completions.create(model="m", messages=[{"role": "user", "content": "你好"}])
            except openai.APIError:
                return False
            return True

        async def program() -> list[bool]:
            async with openai.AsyncOpenAI(
                base_url=f"{played.url}/v1", api_key=ADMIN_KEY, max_retries=2, timeout=60
            ) as client:
                tasks: list[asyncio.Task[bool]] = []
                for _ in range(calls):
                    tasks.append(asyncio.create_task(ask(client)))
                    await asyncio.sleep(1 / 20)
                return [await task for task in tasks]

        answered = asyncio.run(program())
        sent = played.metric("dujiang_calls_total")
        return ClientRetries(played.attempts("a", "b") / calls, sent / calls, sum(answered))


ROWS = (
    Row(
        "F1",
        "one of three targets answers every call with 500",
        "三个目标之一对每个调用都返回 500",
        one_of_three,
        (at_least("success", 0.999), at_most("amplification", 1.2)),
        8,
    ),
    Row(
        "F7",
        "all targets answer with 503, then come back",
        "所有目标都返回 503，随后恢复",
        all_down,
        (at_most("refused_p99_ms", 50), exactly("without_retry_after", 0), at_most("recovered_s", 2)),
        8,
        _ALL_DOWN,
    ),
    Row(
        "F8",
        "one of two targets fails every second call",
        "两个目标之一每两次调用失败一次",
        flapping,
        (at_most("opened_per_min", 60 / (0.9 * _OPEN_S)), at_least("shortest_open_s", 0.9 * _OPEN_S)),
        30,
        _FLAPPING,
    ),
    Row(
        "F36",
        "all targets answer with 500 to the OpenAI SDK with `max_retries=2`",
        "所有目标都返回 500，客户端为 `max_retries=2` 的 OpenAI SDK",
        client_retries,
        (at_most("amplification", 1.2),),
        10,
    ),
)
