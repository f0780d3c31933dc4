"""Knowing how the database is without waiting for it."""

import asyncio
from collections.abc import Callable

from dujiang.storage.database import Database

LOOK_S = 1.0


async def follow_state(database: Database, on_look: Callable[[str], None]) -> None:
    """Hand over the state of the database every second, until cancelled.

    One that does not answer is `unavailable` within `LOOK_S`, though the thread that asks it waits for longer.
    """
    while True:
        asking = asyncio.ensure_future(asyncio.to_thread(database.state))
        done, _ = await asyncio.wait((asking,), timeout=LOOK_S)
        if not done:
            on_look("unavailable")
        on_look(await asking)
        await asyncio.sleep(LOOK_S)
