"""A process that shares a store with others, for tests: it does one thing, says how it went in one line, and stays.

python store_process.py URL flood SECONDS LIMIT COMMAND_S PROCESSES
python store_process.py URL hold LEASE_S
"""

import asyncio
import json
import sys
import time

import uvloop

from dujiang.core.limits import Bound, Permit
from dujiang.storage.redis.address import read_address
from dujiang.storage.redis.store import RedisStore
from dujiang.storage.store import Account, Hold

AT_ONCE = 25
SLOT = Bound("held", concurrency=1)
ACCOUNT = Account("held", 1000)


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


async def flood(url: str, seconds: str, limit: str, command_s: str, processes: str) -> None:
    """As many calls as pass, from many callers: how many, and when the first and the last one asked."""
    store = RedisStore(read_address(url), command_s=float(command_s))
    while store.state() != "ok" or store._stand_in.processes < int(processes):  # noqa: ASYNC110 nobody tells
        await asyncio.sleep(0.01)
    say("ready")
    await asyncio.to_thread(sys.stdin.readline)
    first = time.monotonic()
    passed, waits = 0, [0.0]
    while (began := time.monotonic()) < first + float(seconds):
        answers = await asyncio.gather(*(store.admit([Bound("flood", rpm=int(limit))], 0) for _ in range(AT_ONCE)))
        passed += sum(isinstance(answer, Permit) for answer in answers)
        waits.append(time.monotonic() - began)
        await asyncio.sleep(0.001)
    report = {"passed": passed, "first": first, "last": time.monotonic(), "longest_s": max(waits)}
    say(json.dumps(report | {"state": store.state()}))
    await store.close()


async def hold(url: str, lease_s: str) -> None:
    """Hold a slot and money, and never give them back."""
    store = RedisStore(read_address(url), lease_s=float(lease_s), command_s=5)
    await store.open(ACCOUNT, 0, (), 3600)
    permit = await store.admit([SLOT], 0)
    reservation = await store.reserve([Hold(ACCOUNT, 600)])
    say(f"{type(permit).__name__} {type(reservation).__name__}")
    await asyncio.sleep(600)


if __name__ == "__main__":
    uvloop.run({"flood": flood, "hold": hold}[sys.argv[2]](sys.argv[1], *sys.argv[3:]))
