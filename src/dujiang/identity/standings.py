"""How budgets stand: what of each is spent, and what is set aside for calls that are being answered."""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from time import time

from msgspec import Struct

from dujiang.identity.budgets import Due, Listed
from dujiang.identity.ledger import Ledger
from dujiang.identity.windows import Window
from dujiang.storage.store import Balance, Store

MAX_ACCOUNTS = 200
"""Of a pattern's accounts those are shown that spent most."""


class Standing(Struct, frozen=True):
    """In micro-units, in the window that is running. Of a pattern it is all of its `subjects` together; what is set
    aside for them all is not known.
    """

    window: Window
    spent_micros: int
    reserved_micros: int | None
    subjects: int


class AccountStanding(Struct, frozen=True):
    """One subject's, in micro-units."""

    subject: str
    window: Window
    balance: Balance


class Standings:
    """Asks the shared state, where an account is open there, else the ledger. Raises `DatabaseAway`."""

    def __init__(self, ledger: Ledger, store: Store, clock: Callable[[], float] = time) -> None:
        self._ledger = ledger
        self._store = store
        self._clock = clock

    async def of(self, listed: Sequence[Listed]) -> list[Standing]:
        """Of each budget."""
        now_s = self._clock()
        windows = [each.purse.window_now(now_s) for each in listed]
        sums = await self._sums((each.id, window.start_s) for each, window in zip(listed, windows, strict=True))
        exact = [each for each in listed if not each.is_pattern]
        known = await self._balances([Due(each.purse, each.subject) for each in exact], now_s)
        balances = {each.id: balance for each, balance in zip(exact, known, strict=True)}
        return [
            _standing(window, sums.get((each.id, window.start_s), (0, 0)), balances.get(each.id), each)
            for each, window in zip(listed, windows, strict=True)
        ]

    async def accounts(self, listed: Listed) -> list[AccountStanding]:
        """The subjects that spent of a budget in the running window, those first who spent most."""
        now_s = self._clock()
        window = listed.purse.window_now(now_s)
        entries = await asyncio.to_thread(self._ledger.entries, [(listed.id, window.start_s)], MAX_ACCOUNTS)
        spent = {entry.subject: entry.spent_micros for entry in entries}
        if not listed.is_pattern:
            spent.setdefault(listed.subject, 0)
        known = await self._balances([Due(listed.purse, subject) for subject in spent], now_s)
        return [
            AccountStanding(subject, window, balance or Balance(spent[subject], 0))
            for subject, balance in zip(spent, known, strict=True)
        ]

    async def of_dues(self, dues: Sequence[Due]) -> list[AccountStanding]:
        """Of the budgets that calls of one kind draw on. The ledger is asked for those alone that are not open."""
        now_s = self._clock()
        windows = [due.purse.window_now(now_s) for due in dues]
        known = await self._balances(dues, now_s)
        found: list[AccountStanding] = []
        for due, window, balance in zip(dues, windows, known, strict=True):
            if balance is None:
                spent = await asyncio.to_thread(self._ledger.spent, due.purse.id, due.subject, window.start_s)
                balance = Balance(spent.micros, 0)  # noqa: PLW2901 - what is not open has nothing set aside
            found.append(AccountStanding(due.subject, window, balance))
        return found

    async def _sums(self, windows: Iterable[tuple[str, int]]) -> dict[tuple[str, int], tuple[int, int]]:
        return await asyncio.to_thread(self._ledger.sums, list(windows))

    async def _balances(self, dues: Sequence[Due], now_s: float) -> list[Balance | None]:
        return await self._store.balances([due.account(due.purse.window_now(now_s)).key for due in dues])


def _standing(window: Window, summed: tuple[int, int], balance: Balance | None, listed: Listed) -> Standing:
    spent, subjects = summed
    if listed.is_pattern:
        return Standing(window, spent, None, subjects)
    if balance is None:
        return Standing(window, spent, 0, 1)
    return Standing(window, balance.spent_micros, balance.reserved_micros, 1)
