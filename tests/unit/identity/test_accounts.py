"""Money is set aside, spent and freed, and never spent twice."""

import asyncio
import random
from decimal import Decimal

import pytest

from dujiang.core.call import Call, Caller, ClaimedUser, ParsedChat, Rights
from dujiang.core.chat import ChatRequest, Message, Usage
from dujiang.core.errors import BudgetExceeded
from dujiang.core.money import Cost, Exchange
from dujiang.identity.accounts import Accounts, Spent
from dujiang.identity.budgets import Budgets
from dujiang.identity.foresight import UNKNOWN_OUTPUT_TOKENS, Foresight
from dujiang.identity.settings import BudgetSettings
from dujiang.identity.users import Users
from dujiang.storage.memory import MemoryStore

CNY = Exchange("CNY", "1")


def price(usage):
    """A thousandth of a yuan a token."""
    return Cost(1000 * (usage.prompt_tokens + usage.completion_tokens), "CNY", "v", CNY)


class Books:
    """What a ledger knows, and how often it was asked."""

    def __init__(self, micros=0, corrections=()):
        self.found = Spent(micros, corrections)
        self.asked = 0

    def spent(self, budget_id, subject, window_start_s):
        self.asked += 1
        return self.found


class House:
    def __init__(self, amount, *, spent=0, takes_unpriced=True, per="total"):
        self.books = Books(spent)
        self.store = MemoryStore()
        self.foresight = Foresight()
        self.accounts = Accounts(self.store, self.books, self.foresight)
        declared = BudgetSettings(subject="app:shop", amount=Decimal(amount), currency="CNY", per=per)
        self.budgets = Budgets([declared], {}, {"CNY": Decimal(1)}, "UTC", Users(), takes_unpriced=takes_unpriced)
        self.caller = Caller("k", "shop", ())

    @property
    def dues(self):
        return self.budgets.of(self.caller, Rights(frozenset()), ClaimedUser())

    def call(self, max_tokens=None, deadline_s=60.0):
        request = ChatRequest("m", [Message("user", "hi")], max_tokens=max_tokens)
        now = asyncio.get_running_loop().time()
        call = Call("id", "chat", lambda body: None, self.caller, now, now + deadline_s, 1)  # pyright: ignore[reportArgumentType]
        call.parsed = ParsedChat(request, ClaimedUser())
        call.request, call.model = request, "m"
        return call

    async def reserve(self, call, cost=price):
        return await self.accounts.reserve(call, self.dues, cost)

    async def balance(self):
        due = self.dues[0]
        (found,) = await self.store.balances([due.account(due.purse.window_now(0.0)).key])
        return found.spent_micros, found.reserved_micros

    def settle(self, reserved, call, tokens):
        usage = Usage(output_visible=tokens)
        self.accounts.settle(reserved, call, usage, price(usage))


def test_what_an_attempt_may_cost_is_set_aside_and_what_it_cost_is_spent():
    async def run():
        house = House("1")
        call = house.call(max_tokens=100)
        reserved = await house.reserve(call)
        spent, set_aside = await house.balance()
        assert (spent, set_aside // 100_000) == (0, 1)
        house.settle(reserved, call, 60)
        assert await house.balance() == (60_000, 0)
        (charge,) = call.charges
        assert (charge.subject, charge.amount_micros, charge.currency, charge.window_start_s) == (
            "app:shop",
            60_000,
            "CNY",
            0,
        )
        assert charge.limit_micros == 1_000_000

    asyncio.run(run())


def test_a_failed_attempt_frees_what_was_set_aside_and_charges_nothing():
    async def run():
        house = House("1")
        call = house.call(max_tokens=100)
        house.accounts.settle(await house.reserve(call), call, None, None)
        assert await house.balance() == (0, 0)
        assert call.charges == []

    asyncio.run(run())


def test_a_budget_that_is_spent_is_named():
    async def run():
        house = House("0.5", spent=500_000)
        with pytest.raises(BudgetExceeded) as refused:
            await house.reserve(house.call())
        error = refused.value
        assert (error.status, error.reason, error.retry_after_s) == (402, "spent", None)
        assert "`app:shop`, 0.5 CNY, is spent" in error.message
        told = error.details()["budget"]
        assert (told["subject"], told["limit"]["amount"], told["spent"]["amount"]) == ("app:shop", 0.5, 0.5)

    asyncio.run(run())


def test_a_window_that_ends_says_when():
    async def run():
        house = House("0.5", spent=500_000, per="hour")
        with pytest.raises(BudgetExceeded) as refused:
            await house.reserve(house.call())
        assert 0 < (refused.value.retry_after_s or 0) <= 3600

    asyncio.run(run())


def test_the_last_money_is_not_refused_for_an_estimate_that_is_too_high():
    async def run():
        house = House("0.01")
        call = house.call(max_tokens=100_000)
        house.settle(await house.reserve(call), call, 5)
        assert await house.balance() == (5_000, 0)

    asyncio.run(run())


def test_an_account_is_opened_once_with_what_the_ledger_knows():
    async def run():
        house = House("1", spent=300_000)
        calls = [house.call(max_tokens=1) for _ in range(20)]
        reserved = await asyncio.gather(*map(house.reserve, calls))
        for each, call in zip(reserved, calls, strict=True):
            house.settle(each, call, 1)
        assert await house.balance() == (320_000, 0)
        assert house.books.asked == 1

    asyncio.run(run())


@pytest.mark.parametrize("max_tokens", [100, None])
def test_two_hundred_at_once_spend_what_there_is(max_tokens):
    """A budget for twenty: whatever is foreseen, twenty are answered, and no more."""

    async def one(house, call):
        try:
            reserved = await house.reserve(call)
        except BudgetExceeded:
            return 0
        await asyncio.sleep(random.random() / 100)
        house.settle(reserved, call, 100)
        return 1

    async def run():
        house = House("2")
        calls = [house.call(max_tokens) for _ in range(200)]
        answered = sum(await asyncio.gather(*(one(house, call) for call in calls)))
        spent, set_aside = await house.balance()
        assert set_aside == 0
        assert spent == answered * 100_000
        assert sum(charge.amount_micros for call in calls for charge in call.charges) == spent
        assert answered in (19, 20)

    asyncio.run(run())


def test_who_cannot_wait_is_refused_while_the_rest_is_set_aside():
    async def run():
        house = House("1")
        held = house.call(max_tokens=990)
        reserved = await house.reserve(held)
        with pytest.raises(BudgetExceeded) as refused:
            await house.reserve(house.call(max_tokens=100, deadline_s=0.05))
        assert (refused.value.reason, refused.value.retry_after_s) == ("reserved", 1.0)
        house.accounts.settle(reserved, held, None, None)
        await house.reserve(house.call(max_tokens=100))

    asyncio.run(run())


def test_what_has_no_price_is_paid_or_refused_as_the_document_says():
    async def run():
        free = House("1")
        call = free.call()
        free.accounts.settle(await free.reserve(call, lambda usage: None), call, Usage(output_visible=9), None)
        assert await free.balance() == (0, 0)
        strict = House("1", takes_unpriced=False)
        with pytest.raises(BudgetExceeded) as refused:
            await strict.reserve(strict.call(), lambda usage: None)
        assert refused.value.reason == "unpriced"

    asyncio.run(run())


def test_answers_are_foreseen_as_long_as_they_may_be_or_as_the_last_ones_were():
    foresight = Foresight()
    request = ChatRequest("m", [Message("user", "你好" * 50)])

    def foreseen(**more):
        return foresight.usage("m", ChatRequest("m", request.messages, **more))

    assert foreseen().output_visible > UNKNOWN_OUTPUT_TOKENS
    assert foreseen().input_uncached >= 100
    foresight.note("m", Usage(output_visible=300))
    foresight.note("m", Usage(output_visible=10))
    assert 290 < foreseen().output_visible <= 301
    assert foreseen(max_tokens=5000).output_visible == 5000
    assert foreseen(max_tokens=50, extra={"n": 3}).output_visible == 150
    for _ in range(500):
        foresight.note("m", Usage(output_visible=10))
    assert foreseen().output_visible <= 12
