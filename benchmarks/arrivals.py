"""Calls that arrive while questions are asked: 2,000 a second, stored by a process of their own, as the drain does."""

import time
from collections.abc import Generator
from contextlib import contextmanager
from multiprocessing import get_context
from multiprocessing.connection import Connection

from msgspec import Struct

from benchmarks.calls import Traffic
from benchmarks.places import Place
from benchmarks.stored import BATCH

RATE = 2_000
"""Rows a second."""

_INTERVAL_S = BATCH / RATE
_START_TIMEOUT_S = _STOP_TIMEOUT_S = 60


class Arrived(Struct, frozen=True):
    """`rows` were stored at `rows_per_s` for `cpu_us_per_row` each; the last of them `late_s` after they were due,
    those that were the latest `max_late_s`.
    """

    rows: int
    rows_per_s: float
    cpu_us_per_row: float
    late_s: float
    max_late_s: float

    def has_kept_up(self) -> bool:
        """Whether no backlog was left but what one slow batch makes."""
        return self.late_s < 1.0


class Arrivals:
    """The running process. `result` is there after the end of `arriving`."""

    result: Arrived


@contextmanager
def arriving(place: Place, now_ms: int, seed: int) -> Generator[Arrivals]:
    """Stores calls from `now_ms` on until the block ends."""
    ours, theirs = get_context("spawn").Pipe()
    process = get_context("spawn").Process(target=_store, args=(place, now_ms, seed, theirs), daemon=True)
    arrivals = Arrivals()
    process.start()
    try:
        if not ours.poll(_START_TIMEOUT_S):
            raise TimeoutError("no rows arrive")
        ours.recv()
        yield arrivals
        ours.send("stop")
        if not ours.poll(_STOP_TIMEOUT_S):
            raise TimeoutError("rows arrive without end")
        arrivals.result = ours.recv()
        process.join(_STOP_TIMEOUT_S)
    finally:
        process.kill()
        process.join()


def _store(place: Place, now_ms: int, seed: int, pipe: Connection) -> None:
    traffic = Traffic(seed, content_share=0.1)
    sink = place.sink()
    rows, cpu_s, late_s, max_late_s = 0, 0.0, 0.0, 0.0
    pipe.send("started")
    began_s = time.monotonic()
    try:
        while not pipe.poll():
            due_s = began_s + rows / RATE + _INTERVAL_S
            time.sleep(max(due_s - time.monotonic(), 0.0))
            first_ms = now_ms + rows * 1000 // RATE
            batch = [traffic.call(first_ms + n * 1000 // RATE) for n in range(BATCH)]
            cpu_began_s = time.process_time()
            sink.insert(batch)
            cpu_s += time.process_time() - cpu_began_s
            rows += BATCH
            late_s = time.monotonic() - due_s
            max_late_s = max(max_late_s, late_s)
        rate = rows / (time.monotonic() - began_s)
        cpu_us = cpu_s / max(rows, 1) * 1e6
        pipe.send(Arrived(rows, round(rate), round(cpu_us, 1), round(late_s, 3), round(max_late_s, 3)))
    finally:
        sink.close()
