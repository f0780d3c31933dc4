"""Money is set aside before an attempt and settled when it ends."""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from math import inf
from time import monotonic, time
from typing import Protocol

from msgspec import Struct

from dujiang.core.call import Call
from dujiang.core.chat import Usage
from dujiang.core.errors import BudgetExceeded
from dujiang.core.money import Charge, Cost, Price
from dujiang.identity.budgets import Due
from dujiang.identity.foresight import Foresight
from dujiang.identity.windows import Window
from dujiang.storage.store import Account, Hold, Reservation, Shortage, Store, Unopened

PATIENCE_S = 5.0
"""How long a call waits for money that others have set aside and may not need."""

_FIRST_WAIT_S, _LONGEST_WAIT_S = 0.02, 0.5
_TRIES = 10
_GRACE_S = 86_400.0
"""How long an account is kept after its window: calls that began in it may end much later."""

_FOREVER_S = 10 * 365 * 86_400.0


class Spent(Struct, frozen=True):
    """What the ledger knows of an account: micro-units, and the corrections that they include."""

    micros: int = 0
    corrections: tuple[str, ...] = ()


class Spendings(Protocol):
    """Where what was spent is kept. Blocks for a question to the database."""

    def spent(self, budget_id: str, subject: str, window_start_s: int) -> Spent: ...


class Reserved(Struct):
    """Money that an attempt may spend. It is settled once."""

    reservation: Reservation
    dues: tuple[Due, ...]
    windows: tuple[Window, ...]


class Accounts:
    """Reserves and settles for one process. Opens the accounts that the shared state does not have."""

    def __init__(
        self, store: Store, spendings: Spendings, foresight: Foresight, clock: Callable[[], float] = time
    ) -> None:
        self._store = store
        self._spendings = spendings
        self._foresight = foresight
        self._clock = clock
        self._opening: dict[str, asyncio.Task[None]] = {}
        self._waiting: dict[str, deque[asyncio.Future[None]]] = {}

    async def reserve(self, call: Call, dues: tuple[Due, ...], price: Price) -> Reserved:
        """Set aside what an attempt may cost. Where money lacks that is only set aside, waits a while for it.

        Raises `BudgetExceeded`, and `DatabaseAway` where an account must be opened and what is spent cannot be read.
        """
        cost = price(self._foresight.usage(call.model, call.request))
        now_s = self._clock()
        windows = tuple(due.purse.window_now(now_s) for due in dues)
        holds: list[Hold] = []
        for due, window in zip(dues, windows, strict=True):
            micros = due.purse.in_its_currency(cost) if cost is not None else None
            if micros is None and not due.purse.takes_unpriced:
                raise _unpriced(due, call.model)
            holds.append(Hold(due.account(window), micros or 0))
        until = min(call.deadline, monotonic() + PATIENCE_S)
        wait_s = _FIRST_WAIT_S
        while True:
            reservation = await self._reserved(holds, dues, windows)
            if isinstance(reservation, Reservation):
                self._wake(reservation)
                return Reserved(reservation, dues, windows)
            if reservation.is_spent or monotonic() + wait_s > until:
                lacking = [hold.account.key for hold in holds].index(reservation.account.key)
                raise exceeded(dues[lacking], windows[lacking], reservation, now_s)
            await self._freed(reservation.account.key, wait_s)
            wait_s = min(2 * wait_s, _LONGEST_WAIT_S)

    def settle(self, reserved: Reserved, call: Call, usage: Usage | None, cost: Cost | None) -> None:
        """What an attempt cost is spent, the rest of what was set aside is free again. Never waits."""
        if usage is not None and usage.source == "provider":
            self._foresight.note(call.model, usage)
        spent = [due.purse.in_its_currency(cost) or 0 if cost is not None else 0 for due in reserved.dues]
        self._store.settle(reserved.reservation, spent)
        self._wake(reserved.reservation)
        for due, window, micros in zip(reserved.dues, reserved.windows, spent, strict=True):
            if micros:
                purse = due.purse
                call.charges.append(
                    Charge(
                        purse.id,
                        due.subject,
                        window.start_s,
                        purse.terms.currency,
                        micros,
                        purse.limit_micros,
                        purse.soft_micros,
                    )
                )

    async def open(self, due: Due, window: Window) -> None:
        """See that an account is there, with what the ledger says is spent. Asked for twice at once, it is read once.

        Raises `DatabaseAway`.
        """
        key = due.account(window).key
        task = self._opening.get(key)
        if task is None:
            task = asyncio.create_task(self._open(due, window), name="open an account")
            self._opening[key] = task
            task.add_done_callback(lambda _: self._opening.pop(key, None))
        await asyncio.shield(task)

    async def _reserved(
        self, holds: Sequence[Hold], dues: Sequence[Due], windows: Sequence[Window]
    ) -> Reservation | Shortage:
        for _ in range(_TRIES):
            found = await self._store.reserve(holds)
            if not isinstance(found, Unopened):
                return found
            for hold, due, window in zip(holds, dues, windows, strict=True):
                if hold.account in found.accounts:
                    await self.open(due, window)
        return Shortage(holds[0].account, 0, holds[0].account.limit_micros)

    async def _freed(self, key: str, wait_s: float) -> None:
        """Wait until an attempt of this process has settled with an account, or so long: others do not tell."""
        waiting = self._waiting.setdefault(key, deque())
        future = asyncio.get_running_loop().create_future()
        waiting.append(future)
        try:
            await asyncio.wait((future,), timeout=wait_s)
        finally:
            if not future.done():
                waiting.remove(future)
            if not waiting:
                self._waiting.pop(key, None)

    def _wake(self, reservation: Reservation) -> None:
        """Let the first who waits for each of the accounts try again. Where it succeeds, it wakes the next."""
        for hold in reservation.holds:
            waiting = self._waiting.get(hold.account.key)
            if waiting:
                waiting.popleft().set_result(None)

    async def _open(self, due: Due, window: Window) -> None:
        account: Account = due.account(window)
        spent = await asyncio.to_thread(self._spendings.spent, due.purse.id, due.subject, window.start_s)
        left_s = window.end_s - self._clock() + _GRACE_S if window.end_s != inf else _FOREVER_S
        await self._store.open(account, spent.micros, spent.corrections, left_s)


def exceeded(due: Due, window: Window, shortage: Shortage, now_s: float) -> BudgetExceeded:
    """The error for a call that a budget does not pay for, with when it will again."""
    terms = due.purse.terms
    ends_at = datetime.fromtimestamp(window.end_s, UTC).isoformat(timespec="seconds") if window.end_s != inf else None
    per = f" per {terms.per}" if terms.per != "total" else ""
    state = "is spent" if shortage.is_spent else "is spent or set aside for calls that are being answered"
    then = "raise it" if ends_at is None else f"wait until {ends_at}, or raise it"
    seconds = 1.0 if not shortage.is_spent else None if ends_at is None else max(1.0, window.end_s - now_s)
    error = BudgetExceeded(
        f"The budget of `{due.subject}`, {terms.amount:f} {terms.currency}{per}, {state}: {then}.",
        reason="spent" if shortage.is_spent else "reserved",
        retry_after_s=seconds,
    )
    error.budget = {
        "id": due.purse.id,
        "subject": due.subject,
        "limit": {"amount": float(terms.amount), "currency": terms.currency},
        "spent": {"amount": shortage.spent_micros / 1_000_000, "currency": terms.currency},
        "ends_at": ends_at,
    }
    return error


def _unpriced(due: Due, model: str) -> BudgetExceeded:
    return BudgetExceeded(
        f"What `{model[:100]}` costs is not known, so that the budget of `{due.subject}` cannot pay for it: give the "
        "model a price, and its currency a rate, or set `money.unknown_price: allow`.",
        reason="unpriced",
        param="model",
    )
