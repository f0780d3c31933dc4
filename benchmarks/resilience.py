"""What resilience's own bookkeeping costs an attempt: CPU time of what dispatch calls for each, in one thread.

Every part is timed in a loop against an empty loop of the same length. The clock is the real one, `time.monotonic`, as
dispatch injects it; the windows are full, as they are after a moment of traffic.
"""

import statistics
from collections.abc import Callable
from decimal import Decimal
from itertools import repeat
from pathlib import Path
from random import random
from time import monotonic, thread_time_ns
from typing import Annotated

import typer

from benchmarks.parts import Part, tell
from dujiang.chat.dispatch import dispatch
from dujiang.core.call import Call, Caller, ClaimedUser, ParsedChat, Rights
from dujiang.core.chat import ChatRequest, Chunk, Message, Usage
from dujiang.core.errors import Misconfigured, Unavailable
from dujiang.core.reply import Reply, WholeReply
from dujiang.identity.accounts import Accounts, Spent
from dujiang.identity.budgets import Budgets
from dujiang.identity.foresight import Foresight
from dujiang.identity.users import Users
from dujiang.resilience.balancer import compile_balancers
from dujiang.resilience.breaker import Breaker
from dujiang.resilience.cooldown import Cooldown
from dujiang.resilience.ejection import usable
from dujiang.resilience.model import Model
from dujiang.resilience.parking import Parking
from dujiang.resilience.retry_budget import RetryBudget
from dujiang.resilience.settings import BreakerSettings, ResilienceSettings
from dujiang.resilience.target import Door, Load, Place, Target, Upstream
from dujiang.resilience.verdict import verdict
from dujiang.storage.memory import MemoryStore

_RESULT = Path(__file__).parent / "results" / "resilience.json"
_TIMES = 20_000


class _Member:
    __slots__ = ("barred_until", "breakers")

    def __init__(self, *breakers: Breaker) -> None:
        self.breakers = breakers
        self.barred_until = 0.0


def _breaker(window: int = 20) -> Breaker:
    return Breaker(BreakerSettings(window=window), monotonic, random)


def _breaker_parts() -> dict[str, Callable[[], object]]:
    small, large, mixed, opened = _breaker(), _breaker(10_000), _breaker(), _breaker()
    opened.eject("measured")

    def well(breaker: Breaker) -> None:
        ticket = breaker.enter()
        if ticket is not None:
            breaker.succeed(ticket)

    def one_of_four_fails() -> None:
        for _ in range(3):
            well(mixed)
        ticket = mixed.enter()
        if ticket is not None:
            mixed.fail(ticket, "upstream_error")

    return {
        "breaker: enter and succeed": lambda: well(small),
        "breaker: the same, window of 10,000": lambda: well(large),
        "breaker: four calls, one fails": one_of_four_fails,
        "breaker: refused": opened.enter,
    }


def _other_parts() -> dict[str, Callable[[], object]]:
    budget, empty = RetryBudget(1.0, monotonic), RetryBudget(0.0, monotonic)
    cooldown, parking = Cooldown(monotonic), Parking(monotonic, random)
    error = Unavailable("measured")
    members = [_Member(_breaker(), _breaker()) for _ in range(3)]
    failing = [_Member(_breaker(), _breaker()) for _ in range(3)]
    failing[1].breakers[0].adopt("open", monotonic() + 300, "upstream_error")

    def pay() -> None:
        budget.deposit()
        budget.withdraw()

    def park_not() -> None:
        entered = parking.enter()
        if entered is not None:
            parking.succeed(entered)

    return {
        "retry budget: deposit": budget.deposit,
        "retry budget: deposit and withdraw": pay,
        "retry budget: withdraw, refused": empty.withdraw,
        "cool-down: allows": cooldown.allows,
        "parking: enter and succeed": park_not,
        "verdict": lambda: verdict(error),
        "ejection: pool of three, all well": lambda: usable(members, 0.5, monotonic()),
        "ejection: pool of three, one open": lambda: usable(failing, 0.5, monotonic()),
        "dispatch: a whole call, one target": _dispatched(1),
        "dispatch: a whole call, three targets": _dispatched(3),
    }


async def _answer(call: Call) -> Reply:
    return WholeReply(Chunk("ok", "stop", Usage(input_uncached=1, output_visible=1), "measured"))


def _dispatched(targets: int) -> Callable[[], object]:
    """A call through the whole loop, from its place to the closing of its answer; nothing in it ever waits."""
    settings = ResilienceSettings()
    found = [
        Target(
            Place("p", f"p/{n}", "main"),
            1.0,
            Door(_answer),
            Load(settings, monotonic, random),
            Parking(monotonic, random),
            Upstream(),
            settings=settings,
        )
        for n in range(targets)
    ]
    balancers = compile_balancers(settings.balancing, found, monotonic, random)
    retries = RetryBudget(settings.retry.budget_ratio, monotonic)
    model = Model("m", "", found, Misconfigured("none"), settings, retries, balancers)
    store = MemoryStore()
    budgets = Budgets((), {}, {"CNY": Decimal(1)}, "UTC", Users())
    handler = dispatch({"m": model}, budgets, Accounts(store, _Unspent(), Foresight()), {})
    parsed = ParsedChat(ChatRequest("m", [Message("user", "hi")]), ClaimedUser())
    caller, rights = Caller("key", "app", ()), Rights(frozenset())

    def once() -> None:
        now = monotonic()
        call = Call("id", "chat", lambda _: parsed, caller, now, now + 60, 1)
        call.parsed, call.request, call.rights, call.plan = parsed, parsed.request, rights, model.plan
        try:
            next(handler(call).__await__())
        except StopIteration as ended:
            ended.value.close()

    return once


class _Unspent:
    """A ledger of which nobody asks."""

    def spent(self, budget_id: str, subject: str, window_start_s: int) -> Spent:
        return Spent()


def _nothing() -> None:
    pass


def _cpu_ns(part: Callable[[], object]) -> float:
    began_ns = thread_time_ns()
    for _ in repeat(None, _TIMES):
        part()
    return (thread_time_ns() - began_ns) / _TIMES


def _measured(rounds: int) -> list[Part]:
    """Every part once a round, one after the other, so that drift falls on all alike."""
    parts = {**_breaker_parts(), **_other_parts()}
    for part in parts.values():
        _cpu_ns(part)
    found: dict[str, list[float]] = {name: [] for name in parts}
    for _ in range(rounds):
        loop_ns = _cpu_ns(_nothing)
        for name, part in parts.items():
            found[name].append(_cpu_ns(part) - loop_ns)
    return [Part(name, round(statistics.median(times) / 1000, 3)) for name, times in found.items()]


def main(
    rounds: Annotated[int, typer.Option(min=1, help="Measurements; the medians are told.")] = 15,
    json: Annotated[Path, typer.Option(help="Where the report goes.")] = _RESULT,
) -> None:
    """Measure what the bookkeeping of resilience costs an attempt."""
    protocol = f"medians of {rounds} rounds of {_TIMES} times, an empty loop's deducted; CPU time of the thread"
    tell("resilience", protocol, "none", _measured(rounds), json)


if __name__ == "__main__":
    typer.run(main)
