"""Taking up the corrections of the ledger that other processes made."""

import asyncio
import logging
from time import time

from dujiang.core.ids import first_id
from dujiang.identity.budgets import account_key
from dujiang.identity.ledger import Correction, Ledger
from dujiang.storage.database import DatabaseAway
from dujiang.storage.store import Store

LOOK_S = 0.5

LOOK_BACK_S = 30.0
"""A correction gets its id before it is written, and an account may be opened meanwhile with what was spent before:
each is handed over as long as that could be so. The store counts it once.
"""

_log = logging.getLogger(__name__)


async def follow_corrections(ledger: Ledger, store: Store) -> None:
    """Have each correction counted within a second of its making, until cancelled. A database that fails changes
    nothing.
    """
    looked_at = time()
    while True:
        await asyncio.sleep(LOOK_S)
        began = time()
        since = first_id(int((looked_at - LOOK_BACK_S) * 1000))
        try:
            for each in await asyncio.to_thread(ledger.corrections_since, since):
                await count(store, each)
        except DatabaseAway as error:
            _log.warning("corrections of budgets cannot be read, the next look tries again: %s", error.message)
        else:
            looked_at = began


async def count(store: Store, correction: Correction) -> None:
    """Count a correction in the shared state, where its account is open there."""
    key = account_key(correction.budget_id, correction.subject, correction.window_start_s)
    await store.correct(key, correction.id, correction.amount_micros)
