"""Fills a place of records with made-up calls, as the drain would have: day after day, in batches of 500.

Two processes share the days, since making 10,000,000 calls up takes as long as storing them.
"""

import random
import time
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor, wait
from itertools import islice
from multiprocessing import get_context

from msgspec import Struct
from rich.progress import Progress

from benchmarks.calls import Traffic
from benchmarks.places import Place
from dujiang.records.moments import DAY_MS
from dujiang.records.record import Record

BATCH = 500
_PROCESSES = 2
_SAMPLED = 1_000
_LOOK_S = 0.5


class Part(Struct, frozen=True):
    """A run of days that one process stores."""

    place: Place
    count: int
    start_ms: int
    end_ms: int
    seed: int


class Stored(Struct):
    """What storing came to; making calls up is in neither time. `sample` is drawn evenly from all."""

    count: int
    wall_s: float
    cpu_s: float
    sample: list[Record]


def fill(place: Place, count: int, days: int, end_ms: int, seed: int) -> Stored:
    """Stores `count` calls of the days before `end_ms`, showing how far it is."""
    start_ms = end_ms - days * DAY_MS
    # The border between two parts is a midnight, so that no day is written by both.
    middle_ms = (start_ms + end_ms) // 2 // DAY_MS * DAY_MS
    share = (middle_ms - start_ms) / (end_ms - start_ms)
    first = round(count * share)
    one, other = place.shares()
    parts = [
        Part(one, first, start_ms, middle_ms, seed),
        Part(other, count - first, middle_ms, end_ms, seed + 1),
    ]
    with ProcessPoolExecutor(_PROCESSES, mp_context=get_context("spawn")) as pool:
        stored = _followed([pool.submit(_store, part) for part in parts], place, days)
    place.join()
    return Stored(
        count,
        sum(part.wall_s for part in stored),
        sum(part.cpu_s for part in stored),
        [record for part in stored for record in part.sample],
    )


def batches(rows: Iterator[Record]) -> Iterator[list[Record]]:
    while batch := list(islice(rows, BATCH)):
        yield batch


def _followed(parts: list[Future[Stored]], place: Place, days: int) -> list[Stored]:
    with Progress(transient=True) as progress:
        bar = progress.add_task("days stored", total=days + 1)
        while wait(parts, _LOOK_S).not_done:
            progress.update(bar, completed=max(place.days_begun() - _PROCESSES, 0))
    return [part.result() for part in parts]


def _store(part: Part) -> Stored:
    draw = random.Random(part.seed)  # noqa: S311 a benchmark draws no secrets
    rows = Traffic(part.seed, content_share=0.1).spread(part.count, start_ms=part.start_ms, end_ms=part.end_ms)
    done = Stored(part.count, 0.0, 0.0, [])
    keep = _SAMPLED / max(part.count, 1)
    sink = part.place.sink()
    try:
        for batch in batches(rows):
            done.sample += [row for row in batch if draw.random() < keep]
            wall_s, cpu_s = time.perf_counter(), time.process_time()
            sink.insert(batch)
            done.wall_s += time.perf_counter() - wall_s
            done.cpu_s += time.process_time() - cpu_s
    finally:
        sink.close()
    return done
