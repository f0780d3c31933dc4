"""Money, and what a price is to those who only ask what something cost."""

from collections.abc import Callable, Iterable
from decimal import ROUND_HALF_UP, Decimal

from msgspec import Struct
from msgspec.structs import replace

from dujiang.core.chat import Usage


class Exchange(Struct, frozen=True):
    """What one unit of a currency was worth in the currency of account, `rate` as the document writes it."""

    account: str
    rate: str


class Cost(Struct, frozen=True):
    """An amount in millionths of a currency, which price it was reckoned by, and at which rate it is accounted for."""

    amount_micros: int
    currency: str
    price_version: str
    exchange: Exchange


Price = Callable[[Usage], Cost | None]
"""What a use of a model costs; None when the price is not known, which is never the same as nothing."""


def unpriced(_: Usage) -> Cost | None:
    """The price of a model that has none."""
    return None


def total(costs: Iterable[Cost | None]) -> Cost | None:
    """The sum of the known costs of one call, in the currency of the last; None when none is known."""
    known = [cost for cost in costs if cost is not None]
    if len(known) <= 1:
        return known[0] if known else None
    return replace(known[-1], amount_micros=sum(amount_as(known[-1], cost) for cost in known))


def amount_as(other: Cost, cost: Cost) -> int:
    """What `cost` comes to in the currency of `other`, at the rates of the revision that both were reckoned in."""
    if cost is other or cost.currency == other.currency:
        return cost.amount_micros
    worth = cost.amount_micros * Decimal(cost.exchange.rate) / Decimal(other.exchange.rate)
    return int(worth.quantize(Decimal(1), ROUND_HALF_UP))


class Charge(Struct, frozen=True, array_like=True):
    """What an attempt, or several of one call, took of a budget's account, in millionths of the budget's currency.

    An account is a budget's, for one subject, in the window that began at `window_start_s` (Unix seconds, 0 for a
    budget without windows). `limit_micros` was the budget's amount then, and `soft_micros` what it wants to be warned
    at.
    """

    budget_id: str
    subject: str
    window_start_s: int
    currency: str
    amount_micros: int
    limit_micros: int
    soft_micros: int | None = None
