"""Budgets for tests of what stands around them."""

from decimal import Decimal

from dujiang.identity.accounts import Accounts, Spent
from dujiang.identity.budgets import Budgets
from dujiang.identity.foresight import Foresight
from dujiang.identity.settings import BudgetSettings
from dujiang.identity.users import Users
from dujiang.storage.memory import MemoryStore


class EmptyBooks:
    """A ledger in which nothing is spent yet."""

    def spent(self, budget_id: str, subject: str, window_start_s: int) -> Spent:
        return Spent()


def fresh_accounts() -> Accounts:
    return Accounts(MemoryStore(), EmptyBooks(), Foresight())


def budgets_of(*declared: BudgetSettings) -> Budgets:
    return Budgets(declared, {}, {"CNY": Decimal(1)}, "UTC", Users())
