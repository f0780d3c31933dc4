"""Kills processes of a loaded server at random moments, starts it again, and holds the ledger of every round."""

import asyncio
import random
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Thread
from typing import Literal, get_args

import psutil
from callers import NATIVE, OPENAI, Heard, Load, Question
from gateway import Gateway, eventually, serving
from ledger import Row, Verdict, budget_violations, check, costs, counted, exported, settle
from scripted import document, environ

from dujiang.emulator.server import Emulator

Victim = Literal["worker", "parent", "both"]
VICTIMS: tuple[Victim, ...] = get_args(Victim)

TEMPLATES = [
    Question("", model, path, stream)
    for model in ("prompt", "slow", "streaming", "cut", "unwell")
    for path in (NATIVE, OPENAI)
    for stream in (False, True)
]
_LEAD_S, _SPREAD_S, _REST_S = 0.3, 1.2, 0.2
_LEFT_BEHIND_S = 45.0
_BUDGETS = [
    {"subject": subject, "amount": 10**9, "currency": "CNY", "per": "total"} for subject in ("app:admin", "key:*")
]


@dataclass(frozen=True)
class Round:
    """A kill and what followed. `recovery_s` is from the kill until the server accepts calls and nothing waits."""

    number: int
    victim: Victim
    verdict: Verdict
    recovery_s: float


def loading(port: int, prefix: str, seed: int, seconds: float) -> tuple[Load, Thread]:
    """A load that runs in a thread; join it before looking at what was heard."""
    load = Load(port, TEMPLATES, prefix=prefix, seed=seed)
    thread = Thread(target=lambda: asyncio.run(load.run(seconds)), name="load")
    thread.start()
    return load, thread


def rounds(
    data_dir: Path, emulator: Emulator, victims: list[Victim], seed: int, database_url: str | None = None
) -> Iterator[Round]:
    """One round per victim, all on one data directory and one database, so that each begins with what the kills before
    it left. The database is SQLite where no URL is given.

    At the end everything that any round recorded must still be there once, and the sums must agree.
    """
    draw = random.Random(seed)
    everything: list[Heard] = []
    with ExitStack() as stack:
        house = _House(data_dir, emulator, database_url)
        stack.callback(house.stop)
        gateway = house.start()
        for number, victim in enumerate(victims):
            prefix = f"kill-{number}-"
            before = counted(emulator)
            load, thread = loading(gateway.port, prefix, draw.getrandbits(32), 30)
            time.sleep(_LEAD_S + draw.random() * _SPREAD_S)
            killed_at = time.monotonic()
            house.kill(victim)
            time.sleep(_REST_S)
            load.stop()
            gateway = house.recover(victim)
            recovery_s = time.monotonic() - killed_at
            thread.join()
            settle(gateway)
            everything += load.heard
            yield Round(
                number, victim, check(load.heard, exported(gateway, prefix), counted(emulator) - before), recovery_s
            )
        rows = exported(gateway)
        whole = check(everything, rows, None, costs(gateway))
        whole = replace(whole, violations=(*whole.violations, *_of_budgets(gateway, rows)))
        yield Round(len(victims), "both", whole, 0.0)


def _of_budgets(gateway: Gateway, rows: list[Row]) -> Iterator[str]:
    """What the ledger lost or doubled."""
    budgets = gateway.ask("/api/v1/budgets").json["items"]
    assert len(budgets) == len(_BUDGETS)
    for each in budgets:
        yield from budget_violations(rows, gateway.ask(f"/api/v1/budgets/{each['id']}").json)


class _House:
    """A server on one data directory, through all its deaths."""

    def __init__(self, data_dir: Path, emulator: Emulator, database_url: str | None) -> None:
        self._data_dir = data_dir
        self._environ = environ(emulator.url) | ({"DUJIANG_DATABASE_URL": database_url} if database_url else {})
        self._stack = ExitStack()
        self._gateway: Gateway | None = None
        self._workers: list[psutil.Process] = []

    def start(self) -> Gateway:
        self._gateway = self._stack.enter_context(
            serving(self._data_dir, document(budgets=_BUDGETS), environ=self._environ)
        )
        return self._gateway

    def kill(self, victim: Victim) -> None:
        """`kill -9`, of the parent first where both die: no moment for either to notice."""
        assert self._gateway is not None
        parent, worker = self._gateway.process, self._gateway.worker
        self._workers.append(worker)
        if victim != "worker":
            parent.send_signal(signal.SIGKILL)
        if victim != "parent":
            worker.send_signal(signal.SIGKILL)
        if victim != "worker":
            parent.wait()

    def recover(self, victim: Victim) -> Gateway:
        """The server as it serves again: by itself after its worker's death, else because it is started."""
        if victim != "worker":
            self._stack.close()
            self.start()
        assert self._gateway is not None
        gateway = self._gateway
        eventually(lambda: _serves(gateway), 60)
        settle(gateway, 60)
        return gateway

    def stop(self) -> None:
        self._stack.close()
        _, left = psutil.wait_procs(self._workers, _LEFT_BEHIND_S)
        for worker in left:
            worker.kill()


def _serves(gateway: Gateway) -> bool:
    with suppress(OSError):
        return gateway.ask("/health/ready", timeout_s=2).status == 200
    return False
