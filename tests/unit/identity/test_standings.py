"""How budgets stand: by the shared state where an account is open there, else by the ledger."""

import asyncio
from datetime import UTC, datetime
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

from dujiang.api.budget_items import budgets_of
from dujiang.core.call import Caller, Rights
from dujiang.core.settings import Budget
from dujiang.identity.accounts import Spent
from dujiang.identity.budgets import Budgets, Due
from dujiang.identity.ledger import Entry
from dujiang.identity.settings import AppSettings, BudgetSettings
from dujiang.identity.standings import Standings
from dujiang.identity.users import Users
from dujiang.storage.memory import MemoryStore
from dujiang.storage.store import Hold

NOW_S = datetime(2026, 3, 4, 5, 6, tzinfo=UTC).timestamp()
MIDNIGHT = "2026-03-04T00:00:00Z"
CALLER = Caller("k", "shop", ("user",))


class Books:
    """A ledger with the same spent by each of some subjects, whatever the budget."""

    def __init__(self, micros: int, *subjects: str) -> None:
        self.micros = micros
        self.subjects = subjects
        self.asked = 0

    def sums(self, windows: Any) -> Any:
        return {window: (self.micros * len(self.subjects), len(self.subjects)) for window in windows}

    def entries(self, accounts: Any, limit: int) -> list[Entry]:
        [(id, start)] = accounts
        return [Entry(id, start, subject, "CNY", self.micros) for subject in self.subjects][:limit]

    def spent(self, budget_id: str, subject: str, window_start_s: int) -> Spent:
        self.asked += 1
        return Spent(self.micros)


def budgets(*subjects: str) -> Budgets:
    declared = [BudgetSettings(subject=each, amount=Decimal(5), currency="CNY", per="day") for each in subjects]
    own = AppSettings(budget=Budget(amount=Decimal(9), currency="CNY", per="total"))
    return Budgets(declared, {"shop": own}, {"CNY": Decimal(1)}, "UTC", Users(), clock=lambda: NOW_S)


async def hold(store: MemoryStore, due: Due, spent: int, reserved: int) -> None:
    account = due.account(due.purse.window_now(NOW_S))
    await store.open(account, spent, (), 60.0)
    await store.reserve([Hold(account, reserved)])


def test_what_is_open_is_told_by_the_shared_state() -> None:
    async def run() -> None:
        store, books = MemoryStore(), Books(7_000, "app:shop")
        listed = list(budgets("app:shop", "app:lab").listed(()))
        await hold(store, Due(listed[0].purse, "app:shop"), 1_000, 200)
        first, second, own = await Standings(books, store, lambda: NOW_S).of(listed)
        assert (first.spent_micros, first.reserved_micros) == (1_000, 200)
        assert (second.spent_micros, second.reserved_micros) == (7_000, 0)
        assert own.window.start_s == 0

    asyncio.run(run())


def test_a_pattern_is_told_as_all_of_its_subjects() -> None:
    async def run() -> None:
        store, books = MemoryStore(), Books(7_000, "user:shop/a", "user:shop/b")
        [listed, _] = budgets("user:*").listed(())
        standings = Standings(books, store, lambda: NOW_S)
        [whole] = await standings.of([listed])
        assert (whole.spent_micros, whole.reserved_micros, whole.subjects) == (14_000, None, 2)
        await hold(store, Due(listed.purse, "user:shop/b"), 7_500, 300)
        one, other = await standings.accounts(listed)
        assert (one.subject, one.balance.spent_micros, one.balance.reserved_micros) == ("user:shop/a", 7_000, 0)
        assert (other.subject, other.balance.spent_micros, other.balance.reserved_micros) == ("user:shop/b", 7_500, 300)

    asyncio.run(run())


def test_a_key_is_told_of_the_budgets_that_its_calls_draw_on() -> None:
    async def run() -> None:
        store, books = MemoryStore(), Books(7_000)
        found = budgets("app:*", "user:*", "key:other")
        due = next(due for due in found.of(CALLER, Rights(frozenset()), SimpleNamespace(user_id=None, user_role=None)))
        await hold(store, due, 1_000, 200)
        runtime = SimpleNamespace(
            snapshot=SimpleNamespace(budgets=found),
            rights=lambda caller: Rights(frozenset()),
            standings=Standings(books, store, lambda: NOW_S),
        )
        own, shared = await budgets_of(runtime, CALLER)
        assert (own.subject, own.limit, own.spent, own.reserved, own.window_start) == (
            "app:shop",
            9.0,
            0.001,
            0.0002,
            None,
        )
        assert (shared.subject, shared.limit, shared.spent, shared.window_start) == ("app:shop", 5.0, 0.007, MIDNIGHT)
        assert books.asked == 1

    asyncio.run(run())
