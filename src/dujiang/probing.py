"""The one prober of all processes: asks the services of ill targets, on behalf of all."""

import asyncio
import logging

from dujiang.resilience.prober import IDLE_S, Prober
from dujiang.resilience.target import Place
from dujiang.runtime import Runtime

_LEASE = "prober"
_LEASES = 3
"""How many intervals the duty is kept for: another process takes over when its holder has been silent for so long."""

_log = logging.getLogger(__name__)


async def probe_targets(runtime: Runtime) -> None:
    """Probe every `resilience.probe.interval_s`, while no other process does, until cancelled."""
    prober = Prober(lambda: runtime.snapshot.targets())  # noqa: PLW0108 - the snapshot of that moment
    while True:
        interval_s = runtime.snapshot.document.resilience.probe.interval_s
        await asyncio.sleep(interval_s or IDLE_S)
        if not interval_s or not await _is_on_duty(runtime, interval_s):
            continue
        back = await prober.look()
        if back:
            for provider, credential in {(target.provider, target.credential) for target in back}:
                runtime.herald.tell("", Place(provider, "", credential), "answers", 0.0, "")
            _log.info("services answer again: %s", ", ".join(sorted({target.name for target in back})))
            runtime.admit_waiting()


async def _is_on_duty(runtime: Runtime, interval_s: float) -> bool:
    """Whether this process is the one. Two may be for an interval, which costs a few questions more."""
    origin = runtime.herald.origin
    holder = await runtime.store.get(_LEASE)
    if holder is not None and holder != origin.encode():
        return False
    await runtime.store.put(_LEASE, origin.encode(), _LEASES * interval_s)
    return True
