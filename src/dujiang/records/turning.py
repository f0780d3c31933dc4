"""Letting the drain remove what it has stored, however few calls there are."""

import asyncio

from dujiang.records.journal import Journal

TURN_S = 30.0
"""How long a record lies in a segment that nobody may remove yet, at most."""


async def turn_over(journal: Journal) -> None:
    """Begin another segment now and then, until cancelled."""
    while True:
        await asyncio.sleep(TURN_S)
        journal.turn_over()
