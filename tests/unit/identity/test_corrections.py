"""Corrections that others made reach the shared state, once each."""

import asyncio
import threading
from contextlib import suppress
from datetime import UTC, datetime
from decimal import Decimal

import pytest

from dujiang.core.errors import Unprocessable
from dujiang.core.ids import new_id
from dujiang.identity.budgets import Budgets, account_key
from dujiang.identity.correcting import correcting
from dujiang.identity.corrections import follow_corrections
from dujiang.identity.ledger import Correction
from dujiang.identity.settings import BudgetSettings
from dujiang.identity.users import Users
from dujiang.storage.database import DatabaseAway
from dujiang.storage.memory import MemoryStore
from dujiang.storage.store import Account, Balance

NOW_S = datetime(2026, 3, 4, 5, 6, tzinfo=UTC).timestamp()


class Books:
    """A ledger that is away at first, and of which each look finds all corrections again."""

    def __init__(self, *corrections: Correction) -> None:
        self.found = corrections
        self.looks = 0
        self.is_seen = threading.Event()

    def corrections_since(self, id: str) -> list[Correction]:
        self.looks += 1
        if self.looks == 1:
            raise DatabaseAway("away")
        if self.looks == 4:
            self.is_seen.set()
        return [each for each in self.found if each.id > id]


def correction(amount: int) -> Correction:
    return Correction(new_id(), "b", 0, "app:shop", amount, "because", "k", datetime.now(UTC))


def test_each_correction_is_counted_once_however_often_it_is_seen() -> None:
    async def run() -> Balance | None:
        store, books = MemoryStore(), Books(correction(5), correction(-2))
        key = account_key("b", "app:shop", 0)
        await store.open(Account(key, 100), 10, (), 60.0)
        task = asyncio.create_task(follow_corrections(books, store), name="follow")
        await asyncio.to_thread(books.is_seen.wait, 30)
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        return (await store.balances([key]))[0]

    balance = asyncio.run(run())
    assert balance is not None
    assert balance.spent_micros == 13


def listed(subject: str, per: str = "day"):
    terms = BudgetSettings(subject=subject, amount=Decimal(5), currency="CNY", per=per)
    budgets = Budgets((terms,), {}, {"CNY": Decimal(1)}, "Asia/Shanghai", Users(), clock=lambda: NOW_S)
    return next(iter(budgets.listed(())))


def test_the_running_window_is_meant_where_none_is_named() -> None:
    found = correcting(listed("app:shop"), Decimal("1.0000005"), None, None, lambda: NOW_S)
    assert found.amount_micros == 1_000_000
    assert found.account[1:] == (int(datetime(2026, 3, 3, 16, tzinfo=UTC).timestamp()), "app:shop")


def test_an_earlier_window_is_meant_by_its_beginning() -> None:
    start = datetime(2026, 2, 27, 16, tzinfo=UTC)
    assert correcting(listed("app:shop"), Decimal(1), None, start, lambda: NOW_S).account[1] == start.timestamp()


@pytest.mark.parametrize(
    ("subject", "per", "start", "param"),
    [
        ("app:shop", "day", datetime(2026, 2, 27, 15, tzinfo=UTC), "window_start"),
        ("app:shop", "total", datetime(2026, 2, 27, 16, tzinfo=UTC), "window_start"),
        ("app:shop", "day", datetime(2026, 3, 4, 16, tzinfo=UTC), "window_start"),
        ("app:shop", "day", datetime(2024, 3, 4, 16, tzinfo=UTC), "window_start"),
        ("app:*", "day", None, "subject"),
    ],
)
def test_a_correction_that_cannot_be_meant_is_refused(subject, per, start, param) -> None:
    with pytest.raises(Unprocessable) as refused:
        correcting(listed(subject, per), Decimal(1), None, start, lambda: NOW_S)
    assert refused.value.param == param


@pytest.mark.parametrize(
    ("pattern", "subject", "is_meant"),
    [
        ("user:*", "user:shop/a b", True),
        ("user:*", "user:shop", False),
        ("user:*", "user:/a", False),
        ("user:shop/*", "user:shop/a/b", True),
        ("user:shop/*", "user:lab/a", False),
        ("key:*", "key:k", True),
        ("key:*", "key:", False),
        ("role:*", "app:user", False),
        ("app:*", "app:*", False),
    ],
)
def test_a_subject_is_one_of_a_pattern_s(pattern, subject, is_meant) -> None:
    if is_meant:
        assert correcting(listed(pattern), Decimal(1), subject, None, lambda: NOW_S).account[2] == subject
        return
    with pytest.raises(Unprocessable):
        correcting(listed(pattern), Decimal(1), subject, None, lambda: NOW_S)
