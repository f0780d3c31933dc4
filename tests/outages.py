"""A database that goes away under load, and comes back: what callers heard meanwhile, and what was kept."""

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from callers import Heard
from gateway import Gateway
from kill_rounds import loading
from ledger import Verdict, check, counted, exported, settle

from dujiang.emulator.server import Emulator

_UNTIL_KNOWN_S = 2.5
"""After this health must know: it looks every second, and gives the database one."""

EXPECTED = {200, 502, 503}
"""Answers of the scripted models themselves, the failing ones included."""


@dataclass(frozen=True)
class Outage:
    """`control` was heard while the database was there, `heard` while it was not, in the same run.

    `states` are what health said of the database at the end of each; `caught_up_s` is from its return until nothing
    waited in the journal.
    """

    control: Sequence[Heard]
    heard: Sequence[Heard]
    states: tuple[str, str]
    verdict: Verdict
    caught_up_s: float

    @property
    def failed(self) -> list[Heard]:
        """Calls that got no answer, or one that is not their model's own."""
        return [call for call in self.heard if not call.is_complete or call.status not in EXPECTED]


def outage(
    gateway: Gateway,
    emulator: Emulator,
    leave: Callable[[], None],
    come_back: Callable[[], None],
    seconds: float,
    prefix: str,
) -> Outage:
    """`seconds` of load with the database and `seconds` without it."""
    before = counted(emulator)
    control, state_with = _loaded(gateway, f"{prefix}with-", seconds)
    settle(gateway)
    leave()
    try:
        time.sleep(_UNTIL_KNOWN_S)
        heard, state_without = _loaded(gateway, f"{prefix}without-", seconds)
    finally:
        come_back()
    back_at = time.monotonic()
    settle(gateway, 120)
    caught_up_s = time.monotonic() - back_at
    verdict = check([*control, *heard], exported(gateway, prefix), counted(emulator) - before)
    return Outage(control, heard, (state_with, state_without), verdict, caught_up_s)


def quantile_ms(calls: Sequence[Heard], percent: int) -> float:
    return statistics.quantiles((call.took_ms for call in calls), n=100)[percent - 1]


def _loaded(gateway: Gateway, prefix: str, seconds: float) -> tuple[list[Heard], str]:
    load, thread = loading(gateway.port, prefix, 11, seconds)
    thread.join()
    return load.heard, gateway.ask("/api/v1/health").json["components"]["database"]
