"""The budgets of a document: compiled, and changed one by one."""

from collections.abc import Callable
from typing import Any

import msgspec

from dujiang.config.merge import merged
from dujiang.config.settings import Document
from dujiang.core.errors import Conflict, NotFound
from dujiang.identity.budgets import Budgets, budget_id
from dujiang.identity.settings import BudgetSettings
from dujiang.identity.users import Users
from dujiang.records.pricing import rates_to

Item = dict[str, Any]
Items = list[Item]

SECTION = "budgets"
IDENTITY = ("subject", "currency", "per")
"""What makes a budget the one that it is: no two of a document have the same."""


def compile_budgets(document: Document, users: Users) -> Budgets:
    money = document.money
    return Budgets(
        document.budgets,
        document.apps,
        rates_to(money.currency, money.rates),
        document.schedule.timezone,
        users,
        takes_unpriced=money.unknown_price == "allow",
    )


def adding(budget: Item) -> Callable[[Items], Items]:
    """One more budget. Raises `Conflict` where there is one of the same subject, currency and period."""

    def add(items: Items) -> Items:
        same = [item for item in items if all(item.get(key) == budget.get(key) for key in IDENTITY)]
        if same:
            raise Conflict(
                "There is a budget of this subject, currency and period already: change it with PATCH.", reason="exists"
            )
        return [*items, budget]

    return add


def changing(id: str, patch: Item) -> Callable[[Items], Items]:
    """A JSON merge patch of a budget. Raises `NotFound`."""

    def change(items: Items) -> Items:
        at = _place_of(items, id)
        return [*items[:at], merged(items[at], patch), *items[at + 1 :]]

    return change


def removing(id: str) -> Callable[[Items], Items]:
    """All budgets but one. Raises `NotFound`."""

    def remove(items: Items) -> Items:
        at = _place_of(items, id)
        return [*items[:at], *items[at + 1 :]]

    return remove


def no_budget(id: str) -> NotFound:
    return NotFound(f"There is no budget `{id[:64]}`.", reason="budget_not_found", param="id")


def id_in_document(budget: BudgetSettings) -> str:
    """The id of a budget that a document declares."""
    return budget_id("declared", budget.subject, budget)


def _place_of(items: Items, id: str) -> int:
    for n, item in enumerate(items):
        if id_in_document(msgspec.convert(item, BudgetSettings)) == id:
            return n
    raise no_budget(id)
