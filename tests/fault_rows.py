"""What the fault matrix measures: a real server, an emulated vendor that fails in one way, callers at a steady pace.

Each row gives its figures; what they should be is for who asks: the suite looks at counts and orders, the campaign at
all of them. `scale` stretches a row: 1 is the suite's, short.
"""

import asyncio
import json
import tempfile
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from statistics import quantiles
from typing import Any

import openai
from gateway import ADMIN_KEY, Gateway, behaving, counters, eventually, serving
from paced import Callers, Told, paced

from dujiang.emulator.background import running
from dujiang.emulator.server import Emulator
from dujiang.identity.keys import create_key
from dujiang.storage.database import connect, sqlite_url

Figures = dict[str, float]
Row = Callable[[float], Figures]


def document(targets: int = 1, /, **resilience: Any) -> str:
    """A model `m` with some targets, each at a provider of its own."""
    names = [f"p{n}" for n in range(targets)]
    return json.dumps(
        {
            "providers": {
                name: {
                    "kind": "openai",
                    "base_url": "${BASE_URL}",
                    "allow_private_network": True,
                    "credentials": [{"name": "main", "secret": f"sk-{name}"}],
                }
                for name in names
            },
            "models": {"m": {"targets": [{"provider": name, "model": f"m{n}"} for n, name in enumerate(names)]}},
            "apps": {"light": {}, "heavy": {}},
            "roles": {"admin": {"permissions": ["*"]}, "user": {"permissions": ["chat:call"]}},
            "resilience": resilience,
        }
    )


@contextmanager
def house(text: str) -> Generator[tuple[Gateway, Emulator]]:
    """A server of `text` over an emulator of its own."""
    with tempfile.TemporaryDirectory(prefix="dujiang-fault-") as data, running() as emulator:
        environ = {"BASE_URL": f"{emulator.url}/v1", "DUJIANG_ENV_ALLOW": "BASE_URL"}
        with serving(Path(data), text, environ=environ) as gateway:
            yield gateway, emulator


def attempts(emulator: Emulator, *models: str) -> int:
    return sum(counters(emulator, model)["attempts"] for model in models)


def share_ok(told: list[Told]) -> float:
    return sum(each.status == 200 for each in told) / len(told)


def p99_s(told: list[Told]) -> float:
    return quantiles((each.took_s for each in told), n=100)[98]


# ---- one of several is ill -------------------------------------------------------------------------------


def one_of_three_fails(scale: float) -> Figures:
    """F1: a target answers 500 to everything."""
    calls = int(300 * scale)
    with house(document(3)) as (gateway, emulator):
        control = paced(gateway.port, "m", calls, 100)
        before = attempts(emulator, "m0", "m1", "m2")
        with behaving(emulator, "m0", "status=500"):
            told = paced(gateway.port, "m", calls, 100)
            asked = attempts(emulator, "m0", "m1", "m2") - before
            failed = attempts(emulator, "m0")
    return {
        "control_ok": share_ok(control),
        "ok": share_ok(told),
        "upstream_calls_per_call": asked / calls,
        "calls_to_the_failing": failed - calls / 3,
    }


def throttled_with_retry_after(scale: float) -> Figures:
    """F2: a target says 429 with `Retry-After: 2`."""
    with house(document(2)) as (gateway, emulator):
        told: list[Told] = []
        gaps: list[float] = []
        with behaving(emulator, "m0", "status=429;retry_after=2"):
            until = time.monotonic() + 5 * scale
            seen, seen_at = 0, 0.0
            while time.monotonic() < until:
                told += paced(gateway.port, "m", 4, 100)
                now = attempts(emulator, "m0")
                if now > seen:
                    if seen:
                        gaps.append(time.monotonic() - seen_at)
                    seen, seen_at = now, time.monotonic()
        return {"ok": share_ok(told), "least_gap_s": min(gaps), "calls_to_the_throttled": seen}


def throttled_without_a_word(scale: float) -> Figures:
    """F3: a vendor that lets 600 calls a minute through and says no more than 429 to the others."""
    seconds = 10 * scale
    with house(document(retry={"max_attempts": 1})) as (gateway, emulator), behaving(emulator, "m0", "rate=600"):
        paced(gateway.port, "m", 620, 300)  # the minute's worth that a full bucket lets through at once
        before = counters(emulator, "m0")
        told = paced(gateway.port, "m", int(15 * seconds), 15)
        asked = counters(emulator, "m0")["attempts"] - before["attempts"]
    served = sum(each.status == 200 for each in told)
    return {"served_per_allowed": served / (10 * seconds), "refused_upstream": (asked - served) / max(asked, 1)}


def out_of_money(scale: float) -> Figures:
    """F4: an account has no money left."""
    with house(document(2)) as (gateway, emulator), behaving(emulator, "m0", "error=insufficient_quota"):
        told = paced(gateway.port, "m", int(100 * scale), 50)
        return {"ok": share_ok(told), "calls_to_the_empty": attempts(emulator, "m0")}


def refused_key(scale: float) -> Figures:
    """F5: one key of two is refused."""
    text = json.loads(document())
    text["providers"]["p0"]["credentials"].append({"name": "bad", "secret": "sk-invalid"})
    with house(json.dumps(text)) as (gateway, emulator):
        told = paced(gateway.port, "m", int(100 * scale), 50)
        return {"ok": share_ok(told), "calls_with_the_bad": attempts(emulator, "m0") - len(told)}


def flapping(scale: float) -> Figures:
    """F8: a target fails half of its calls."""
    seconds = 12 * scale
    settings = {"breaker": {"window": 10, "min_calls": 5, "open_s": 2, "max_open_s": 60}}
    with house(document(2, **settings)) as (gateway, emulator):
        changes, state = 0, "closed"
        told: list[Told] = []
        with behaving(emulator, "m0", "status=500;flaky=0.5"):
            until = time.monotonic() + seconds
            while time.monotonic() < until:
                told += paced(gateway.port, "m", 5, 50)
                now = gateway.ask("/api/v1/targets").json["items"][0]["state"]
                is_open = now in {"open", "half_open"}
                changes += is_open != (state == "open")
                state = "open" if is_open else "closed"
    return {"ok": share_ok(told), "changes_per_min": changes / seconds * 60, "bound_per_min": 2 * 60 / 2}


# ---- all are ill -----------------------------------------------------------------------------------------


def all_down(scale: float) -> Figures:
    """F7: every target is down, then comes back."""
    settings = {"breaker": {"min_calls": 5, "open_s": 30}, "retry": {"max_attempts": 1}, "probe": {"interval_s": 2}}
    with house(document(2, **settings)) as (gateway, emulator):
        with behaving(emulator, "m0", "status=503"), behaving(emulator, "m1", "status=503"):
            paced(gateway.port, "m", 30, 30)
            before = attempts(emulator, "m0", "m1")
            told = paced(gateway.port, "m", int(200 * scale), 100)
            refused = [each for each in told if not each.json["error"]["attempts"]]
            probes = attempts(emulator, "m0", "m1") - before
            waiting = gateway.ask("/api/v1/targets").json["queues"][0]["waiting"]
        back = time.monotonic()
        while paced(gateway.port, "m", 1, 1)[0].status != 200:
            time.sleep(0.05)
        recovered_s = time.monotonic() - back
    return {
        "refused_p99_ms": p99_s(refused) * 1000,
        "refused_with_retry_after": sum(each.retry_after_s is not None for each in refused) / len(refused),
        "upstream_calls": probes,
        "waiting": waiting,
        "recovered_s": recovered_s,
    }


def client_retries(scale: float) -> Figures:
    """F36: clients that repeat on their own, over a vendor that answers 500; with breakers and without."""
    calls = int(60 * scale)
    never_opens = {"window": 100_000, "min_calls": 100_000}
    return {
        "upstream_per_call": _asked_by_sdk(document(), calls) / calls,
        "upstream_per_request_without_breaker": _asked_by_sdk(document(breaker=never_opens), calls) / (calls * 3),
    }


def _asked_by_sdk(text: str, calls: int) -> int:
    """How often the vendor was asked for so many calls, each of which reaches us three times."""

    async def ask(client: openai.AsyncOpenAI) -> None:
        with suppress(openai.APIStatusError):
            await client.chat.completions.create(model="m", messages=[{"role": "user", "content": "hi"}])

    async def run(url: str) -> None:
        async with openai.AsyncOpenAI(base_url=f"{url}/v1", api_key=ADMIN_KEY, max_retries=2, timeout=60) as client:
            for _ in range(calls // 20):
                await asyncio.gather(*(ask(client) for _ in range(20)))

    with house(text) as (gateway, emulator), behaving(emulator, "m0", "status=500"):
        asyncio.run(run(gateway.url))
        return attempts(emulator, "m0")


# ---- silence ---------------------------------------------------------------------------------------------


def _overshoot(behaviour: str, scale: float, *, deadline_s: float, stream: bool, **timeouts: float) -> Figures:
    with house(document(retry={"max_attempts": 1}, timeouts=timeouts)) as (gateway, emulator):
        with behaving(emulator, "m0", behaviour):
            told = paced(gateway.port, "m", int(20 * scale), 50, stream=stream)
            time.sleep(0.3)
            left = counters(emulator, "m0")["in_flight"]
        inside = gateway.ask("/api/v1/targets").json["queues"][0]["inside"]
    late = [each.took_s - deadline_s for each in told]
    return {
        "timed_out": sum(each.status == 504 for each in told) / len(told),
        "overshoot_ms": max(late) * 1000,
        "least_ms": min(late) * 1000,
        "left_upstream": left,
        "left_inside": inside,
    }


def slow_first_token(scale: float) -> Figures:
    """F9: the first token takes 30 s; another target answers."""
    settings = {"timeouts": {"first_token_s": 0.5, "total_s": 5}}
    with house(document(2, **settings)) as (gateway, emulator), behaving(emulator, "m0", "ttft=30000"):
        told = paced(gateway.port, "m", int(20 * scale), 20, stream=True)
    return {"ok": share_ok(told), "slowest_ms": max(each.took_s for each in told) * 1000}


def black_hole(scale: float) -> Figures:
    """F10: a vendor takes the call and says nothing."""
    return _overshoot("hang", scale, deadline_s=0.8, stream=False, total_s=0.8)


def comments_for_ever(scale: float) -> Figures:
    """F11: a stream that only says that it is alive."""
    return _overshoot("ok_comments;ttft=60000", scale, deadline_s=0.8, stream=True, first_token_s=0.8, total_s=30)


# ---- too much --------------------------------------------------------------------------------------------

PLACES, LATENCY_MS, PER_S = 30, 100, 300
"""An upstream of 300 calls a second."""


def overload(scale: float) -> Figures:
    """F34: five times what the upstream can serve."""
    seconds = 4 * scale
    settings = {"concurrency": {"limit": PLACES, "adaptive": False, "max_wait_s": 1}, "retry": {"max_attempts": 1}}
    with house(document(**settings)) as (gateway, emulator), behaving(emulator, "m0", f"latency={LATENCY_MS}"):
        peak_per_s = PER_S * 0.9
        alone = paced(gateway.port, "m", int(peak_per_s * seconds), peak_per_s)
        told, looks_s = asyncio.run(_flooded(gateway, seconds))
        began = time.monotonic()
        while p99_s(paced(gateway.port, "m", 100, 100)) > 2 * p99_s(alone):
            pass
        back_s = time.monotonic() - began
    served = [each for each in told if each.status == 200]
    refused = sorted(each.took_s for each in told if each.status == 429)
    span_s = max(each.began_s + each.took_s for each in told)
    return {
        "alone_ok": share_ok(alone),
        "goodput_per_peak": len(served) / span_s / peak_per_s,
        "slowest_served_s": max(each.took_s for each in served),
        "refused_median_ms": refused[len(refused) // 2] * 1000,
        "other_statuses": len(told) - len(served) - len(refused),
        "slowest_health_s": max(looks_s),
        "back_to_normal_s": back_s,
    }


async def _flooded(gateway: Gateway, seconds: float) -> tuple[list[Told], list[float]]:
    """What callers were told, and how long health took meanwhile."""
    looks_s: list[float] = []

    async def look() -> None:
        while True:
            began = time.monotonic()
            found = await asyncio.to_thread(gateway.ask, "/api/v1/health")
            assert found.status == 200
            looks_s.append(time.monotonic() - began)
            await asyncio.sleep(0.5)

    looking = asyncio.create_task(look())
    callers = Callers(gateway.port)
    told = await callers.ask_at_pace("m", int(5 * PER_S * seconds), 5 * PER_S)
    looking.cancel()
    callers.close()
    return told, looks_s


def noisy_neighbour(scale: float) -> Figures:
    """F35: one app sends twenty times as much as another of the same weight, three times what can be served; then both
    send more than there is.
    """
    seconds = 5 * scale
    settings = {"concurrency": {"limit": 10, "adaptive": False, "max_wait_s": 2}, "retry": {"max_attempts": 1}}
    with house(document(**settings)) as (gateway, emulator):
        with connect(sqlite_url(gateway.data_dir)) as database:
            keys = {app: create_key(database, app=app, roles=["user"])[1] for app in ("light", "heavy")}
        eventually(lambda: gateway.ask("/v1/models", key=keys["heavy"]).status == 200)
        with behaving(emulator, "m0", "latency=100"):  # 100 a second
            alone = paced(gateway.port, "m", int(15 * seconds), 15, key=keys["light"])
            light, heavy = asyncio.run(_at_once(gateway, {keys["light"]: 15, keys["heavy"]: 300}, seconds))
            greedy = asyncio.run(_at_once(gateway, {keys["light"]: 150, keys["heavy"]: 150}, seconds))
    served = [sum(each.status == 200 for each in told) for told in greedy]
    return {
        "light_ok": share_ok(light),
        "light_median_ratio": _median_s(light) / _median_s(alone),
        "light_p99_ratio": p99_s(light) / p99_s(alone),
        "heavy_ok": share_ok(heavy),
        "jain": sum(served) ** 2 / (len(served) * sum(each * each for each in served)),
    }


async def _at_once(gateway: Gateway, per_s: dict[str, int], seconds: float) -> list[list[Told]]:
    """What the holders of some keys were told, each of whom asks so often a second."""
    callers = [Callers(gateway.port, key) for key in per_s]
    paces = per_s.values()
    try:
        return await asyncio.gather(
            *(each.ask_at_pace("m", int(pace * seconds), pace) for each, pace in zip(callers, paces, strict=True))
        )
    finally:
        for each in callers:
            each.close()


def _median_s(told: list[Told]) -> float:
    return sorted(each.took_s for each in told)[len(told) // 2]


def adaptive_limit(scale: float) -> Figures:
    """An upstream that takes 40 calls at once and refuses others, and after a while takes 20."""
    settings = {"concurrency": {"limit": 256, "adaptive": True, "max_wait_s": 1}, "retry": {"max_attempts": 1}}
    found: Figures = {}
    with house(document(**settings)) as (gateway, emulator):
        for name, capacity in (("first", 40), ("halved", 20)):
            with behaving(emulator, "m0", f"latency=100;status=429;concurrency={capacity}"):
                limits = asyncio.run(_limits_under_load(gateway, 15 * capacity, 10 * scale))
            late = limits[-len(limits) // 3 :]
            found[f"{name}_per_capacity"] = sum(late) / len(late) / capacity
    return found


async def _limits_under_load(gateway: Gateway, per_s: int, seconds: float) -> list[int]:
    """The limit in force, ten times a second."""
    limits: list[int] = []

    async def look() -> None:
        while True:
            found = await asyncio.to_thread(gateway.ask, "/api/v1/targets")
            limits.append(found.json["items"][0]["limit"])
            await asyncio.sleep(0.1)

    looking = asyncio.create_task(look())
    callers = Callers(gateway.port)
    await callers.ask_at_pace("m", int(per_s * seconds), per_s)
    looking.cancel()
    callers.close()
    return limits


ROWS: dict[str, Row] = {
    "F1 one of three at 100 % errors": one_of_three_fails,
    "F2 429 with Retry-After: 2": throttled_with_retry_after,
    "F3 429 without a word, 10 a second": throttled_without_a_word,
    "F4 no money": out_of_money,
    "F5 one key of two refused": refused_key,
    "F7 all down": all_down,
    "F8 flapping": flapping,
    "F9 first token after 30 s": slow_first_token,
    "F10 black hole": black_hole,
    "F11 comments for ever": comments_for_ever,
    "F34 five times too much": overload,
    "F35 noisy neighbour": noisy_neighbour,
    "F36 clients that retry": client_retries,
    "adaptive limit": adaptive_limit,
}

WANTED: dict[str, dict[str, tuple[float, float]]] = {
    "F1 one of three at 100 % errors": {"ok": (0.999, 1), "upstream_calls_per_call": (0, 1.2)},
    "F2 429 with Retry-After: 2": {"ok": (1, 1), "least_gap_s": (1.95, 60)},
    "F3 429 without a word, 10 a second": {"served_per_allowed": (0.8, 1.2)},
    "F4 no money": {"ok": (1, 1), "calls_to_the_empty": (1, 1)},
    "F5 one key of two refused": {"ok": (1, 1), "calls_with_the_bad": (1, 1)},
    "F7 all down": {
        "refused_p99_ms": (0, 50),
        "refused_with_retry_after": (1, 1),
        "upstream_calls": (0, 20),
        "waiting": (0, 0),
        "recovered_s": (0, 3),
    },
    "F8 flapping": {"ok": (0.98, 1), "changes_per_min": (0, 60)},
    "F9 first token after 30 s": {"ok": (1, 1), "slowest_ms": (0, 5000)},
    "F10 black hole": {"timed_out": (1, 1), "overshoot_ms": (0, 50), "left_upstream": (0, 0), "left_inside": (0, 0)},
    "F11 comments for ever": {
        "timed_out": (1, 1),
        "overshoot_ms": (0, 50),
        "left_upstream": (0, 0),
        "left_inside": (0, 0),
    },
    "F34 five times too much": {
        "alone_ok": (1, 1),
        "goodput_per_peak": (0.85, 1.2),
        "slowest_served_s": (0, 1.2),
        "other_statuses": (0, 0),
        "slowest_health_s": (0, 1),
        "back_to_normal_s": (0, 5),
    },
    "F35 noisy neighbour": {"light_ok": (1, 1), "light_p99_ratio": (0, 1.5), "jain": (0.95, 1)},
    "F36 clients that retry": {"upstream_per_call": (0, 1.2), "upstream_per_request_without_breaker": (0, 1.2)},
    "adaptive limit": {"first_per_capacity": (0.8, 1.2), "halved_per_capacity": (0.8, 1.2)},
}
"""Between which bounds each figure should be. Those that measure time are the campaign's."""
