"""What a place in front of a model's targets costs a call: CPU time, without waiting for anything.

*enter and leave* is what every call pays while there is room, before three targets with adaptive limits. *wait and
leave* is a call that finds all places taken: it joins a queue of 256 calls of 32 apps, and the next of them is let in
and woken by the event loop. *fair queue* is that queue's own part of it. *note* is an adaptive limit learning of one
first token.
"""

import asyncio
import statistics
from collections.abc import Awaitable, Callable
from pathlib import Path
from time import thread_time
from typing import Annotated

import typer

from benchmarks.parts import Part, tell
from dujiang.resilience.fair_queue import Entry, FairQueue
from dujiang.resilience.gate import Gate
from dujiang.resilience.limiter import AdaptiveLimit

_RESULT = Path(__file__).parent / "results" / "queueing.json"
_CALLS = 20_000
_TARGETS = 3
_WAITING = 256
_APPS = 32
_NEVER_S = 1e9


async def _nothing() -> None:
    """The loop around the others: it is taken off them."""
    for _ in range(_CALLS):
        pass


async def _enter_and_leave() -> None:
    limits = [AdaptiveLimit(256) for _ in range(_TARGETS)]

    def places() -> int:
        total = 0
        for each in limits:
            total += each.limit
        return total

    gate = Gate(FairQueue(512, 5), places)
    for _ in range(_CALLS):
        if gate.try_enter():
            gate.leave()


async def _wait_and_leave() -> None:
    gate = Gate(FairQueue(2 * _WAITING, _NEVER_S), lambda: 1)

    async def call(app: str) -> None:
        await gate.wait(app, _NEVER_S)
        gate.leave()

    gate.try_enter()
    tasks = [asyncio.create_task(call(f"app-{n % _APPS}")) for n in range(_WAITING)]
    for n in range(_CALLS - _WAITING):
        await asyncio.sleep(0)
        if n == 0:
            gate.leave()
        tasks.append(asyncio.create_task(call(f"app-{n % _APPS}")))
    await asyncio.gather(*tasks)


async def _fair_queue() -> None:
    queue: FairQueue[Entry] = FairQueue(2 * _WAITING, _NEVER_S)
    for n in range(_WAITING):
        queue.offer(Entry(f"app-{n % _APPS}", _NEVER_S), 0.0)
    for n in range(_CALLS):
        queue.offer(Entry(f"app-{n % _APPS}", _NEVER_S), n * 1e-3)
        queue.released(n * 1e-3)
        queue.take()


async def _note() -> None:
    limit = AdaptiveLimit(256)
    for n in range(_CALLS):
        limit.note(200, "ok", 1e-9 * (n % 7 + 1))


_PARTS: dict[str, Callable[[], Awaitable[None]]] = {
    "enter and leave": _enter_and_leave,
    "wait and leave": _wait_and_leave,
    "fair queue": _fair_queue,
    "note": _note,
}


async def _cpu_us(part: Callable[[], Awaitable[None]]) -> float:
    began_s = thread_time()
    await part()
    return (thread_time() - began_s) / _CALLS * 1e6


async def _rounds(count: int) -> list[dict[str, float]]:
    """Measurements of every part, one after the other, so that drift falls on all alike."""
    measured: list[dict[str, float]] = []
    for _ in range(count + 1):
        loop_us = await _cpu_us(_nothing)
        measured.append({name: await _cpu_us(part) - loop_us for name, part in _PARTS.items()})
    return measured[1:]


def main(
    rounds: Annotated[int, typer.Option(min=1, help="Measurements; the medians are told.")] = 15,
    json: Annotated[Path, typer.Option(help="Where the report goes.")] = _RESULT,
) -> None:
    """Measure what limits and queues cost a call."""
    measured = asyncio.run(_rounds(rounds))
    rows = [Part(name, round(statistics.median(each[name] for each in measured), 3)) for name in _PARTS]
    protocol = f"medians of {rounds} rounds of {_CALLS} calls; CPU time of the loop's thread"
    data = f"{_TARGETS} targets; {_WAITING} calls of {_APPS} apps waiting"
    tell("queueing", protocol, data, rows, json)


if __name__ == "__main__":
    typer.run(main)
