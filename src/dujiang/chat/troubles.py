"""Looking, beside the calls, whether targets are in trouble, and saying so when that changes."""

import asyncio
from collections.abc import Callable, Iterator, Mapping

from dujiang.core.errors import OutOfQuota
from dujiang.resilience.model import Model
from dujiang.telemetry.troubles import Trouble

LOOK_S = 1.0
"""Breakers stay open for longer by default, and what is parked for much longer."""


async def follow_troubles(
    models: Callable[[], Mapping[str, Model]], say: Callable[[frozenset[Trouble]], None], look_s: float = LOOK_S
) -> None:
    """Say what is wrong with the targets of the present `models`, at first and whenever it changed, until cancelled."""
    known: frozenset[Trouble] | None = None
    while True:
        found = frozenset(troubles_of(models()))
        if found != known:
            known = found
            say(found)
        await asyncio.sleep(look_s)


def troubles_of(models: Mapping[str, Model]) -> Iterator[Trouble]:
    """Targets whose breaker is open, and credentials that are not served. What an operator took out is no trouble."""
    for name, model in models.items():
        for target in model.targets:
            breaker, refused = target.load.breaker, target.parking.reason
            if breaker.state in {"open", "half_open"}:
                reason = breaker.reason or ""
                yield Trouble("breaker.opened", target.provider, target.credential, reason, name, target.name)
            if refused is not None:
                kind = "quota.spent" if refused == OutOfQuota.code else "credential.refused"
                yield Trouble(kind, target.provider, target.credential, refused)
