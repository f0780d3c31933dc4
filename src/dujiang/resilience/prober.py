"""Asking the services of ill targets whether they are there again, so that no call need be spent on finding out.

A probe costs nothing and generates nothing, so it proves little: one that always succeeds while calls fail is no news.
One that succeeds after it failed is: then an open breaker may be tried at once, and a credential that was refused is
taken for good again.
"""

import asyncio
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

from dujiang.core.errors import AppError
from dujiang.resilience.target import Target

TIMEOUT_S = 5.0
AT_ONCE = 8
IDLE_S = 1.0
"""How soon to look whether probes are wanted, while they are not."""

_CREDENTIAL_REFUSED = "upstream_bad_credential"


class Service(NamedTuple):
    """What one probe tells of: a provider under a credential."""

    provider: str
    credential: str


class Prober:
    """Remembers which services did not answer. `targets` gives all there are."""

    def __init__(self, targets: Callable[[], Iterable[Target]]) -> None:
        self._targets = targets
        self._failed: set[Service] = set()

    async def look(self) -> list[Target]:
        """Probe each service with an ill target once, and return the targets that may be asked again."""
        ill = self._ill()
        self._failed &= ill.keys()
        limit = asyncio.Semaphore(AT_ONCE)

        async def probe(service: Service, targets: list[Target]) -> bool:
            async with limit:
                return await _answers(targets[0])

        found = await asyncio.gather(*(probe(service, targets) for service, targets in ill.items()))
        back: list[Target] = []
        for (service, targets), is_there in zip(ill.items(), found, strict=True):
            if not is_there:
                self._failed.add(service)
            elif service in self._failed:
                self._failed.discard(service)
                back += targets
        for target in back:
            _is_back(target)
        return back

    def _ill(self) -> Mapping[Service, list[Target]]:
        ill: dict[Service, list[Target]] = {}
        for target in self._targets():
            state = target.load.breaker.state
            is_refused = target.parking.reason == _CREDENTIAL_REFUSED and state not in {"drained", "ejected"}
            if target.probe is not None and (state == "open" or is_refused):
                ill.setdefault(Service(target.provider, target.credential), []).append(target)
        return ill


async def _answers(target: Target) -> bool:
    if target.probe is None:
        return False
    try:
        await target.probe(TIMEOUT_S)
    except AppError:
        return False
    return True


def _is_back(target: Target) -> None:
    target.load.breaker.hasten()
    if target.parking.reason == _CREDENTIAL_REFUSED:
        target.parking.restore()
