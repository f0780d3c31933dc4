"""Past calls priced again, by prices that were unknown or wrong when they were made."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from msgspec import Struct
from sqlalchemy import Select, bindparam, select

from dujiang.core.chat import Usage
from dujiang.core.money import Cost
from dujiang.records.tables import attempts, calls

AT_ONCE = 5_000
"""Calls that are read, and then written, together."""


class PastUse(Struct, frozen=True):
    """What a price depends on: `target` is the provider and the vendor's name of the model, `at_ms` is in Unix
    milliseconds.
    """

    model: str
    provider: str
    target: str
    at_ms: int
    usage: Usage


PriceOf = Callable[[PastUse], Cost | None]
"""What a past use costs; None where no price is known."""


class Repriced(Struct, frozen=True):
    """How many calls cost something else now, as much as before, still have no price, or cannot be priced: of more than
    one attempt that used tokens, only the sum of these is recorded.
    """

    changed: int = 0
    same: int = 0
    unpriced: int = 0
    shared: int = 0

    def plus(self, other: "Repriced") -> "Repriced":
        return Repriced(
            self.changed + other.changed,
            self.same + other.same,
            self.unpriced + other.unpriced,
            self.shared + other.shared,
        )


class Change(Struct, frozen=True):
    """The new cost of a call, all of which its attempt number `n` made."""

    call_id: bytes
    n: int
    cost: Cost

    def values(self) -> dict[str, Any]:
        """For the statements that store it."""
        cost = self.cost
        return {
            "of_call": self.call_id,
            "attempt": self.n,
            "cost_micros": cost.amount_micros,
            "currency": cost.currency,
            "price_version": cost.price_version,
            "account_currency": cost.exchange.account,
            "exchange_rate": cost.exchange.rate,
        }


_BUCKETS = (
    calls.c.input_uncached,
    calls.c.cache_read,
    calls.c.cache_write,
    calls.c.output_visible,
    calls.c.reasoning,
)
_MONEY = (
    calls.c.cost_micros,
    calls.c.currency,
    calls.c.price_version,
    calls.c.account_currency,
    calls.c.exchange_rate,
)
_PLACE = (calls.c.id, calls.c.started_at_ms, calls.c.model, calls.c.provider, calls.c.target, calls.c.attempts)


class Repricing(Struct, frozen=True):
    """By what calls are priced again, and which: all that used tokens, or those alone whose cost is not known."""

    price_of: PriceOf
    only_unpriced: bool = False

    @property
    def used_calls(self) -> Select[*tuple[Any, ...]]:
        """The calls with ids between the parameters `after` and `before`, by id, some at once."""
        wanted = select(*_PLACE, *_BUCKETS, *_MONEY).where(calls.c.usage_source.is_not(None))
        if self.only_unpriced:
            wanted = wanted.where(calls.c.cost_micros.is_(None))
        return (
            wanted.where(calls.c.id > bindparam("after"), calls.c.id < bindparam("before"))
            .order_by(calls.c.id)
            .limit(AT_ONCE)
        )


def priced_attempts() -> Select[*tuple[Any, ...]]:
    """The attempts with a known cost, of the calls between the parameters `first` and `last`."""
    span = attempts.c.call_id.between(bindparam("first"), bindparam("last"))
    return select(attempts.c.call_id, attempts.c.n).where(span, attempts.c.cost_micros.is_not(None))


def repriced(
    rows: Sequence[tuple[Any, ...]], priced: Iterable[tuple[bytes, int]], price_of: PriceOf
) -> tuple[list[Change], Repriced]:
    """What changes for the rows of `Repricing.used_calls`, by those of `priced_attempts`."""
    paid: dict[bytes, list[int]] = {}
    for call_id, n in priced:
        paid.setdefault(bytes(call_id), []).append(n)
    changes: list[Change] = []
    count = {"changed": 0, "same": 0, "unpriced": 0, "shared": 0}
    for row in rows:
        what, change = _repriced(row, paid.get(bytes(row[0]), []), price_of)
        count[what] += 1
        changes += change
    return changes, Repriced(**count)


def _repriced(row: tuple[Any, ...], paid: Sequence[int], price_of: PriceOf) -> tuple[str, list[Change]]:
    id, at_ms, model, provider, target, tries = row[: len(_PLACE)]
    buckets, money = row[len(_PLACE) : -len(_MONEY)], row[-len(_MONEY) :]
    if len(paid) > 1:
        return "shared", []
    cost = price_of(PastUse(model, provider, target, at_ms, Usage(*buckets)))
    if cost is None:
        return "unpriced", []
    made = (cost.amount_micros, cost.currency, cost.price_version, cost.exchange.account, cost.exchange.rate)
    if made == tuple(money):
        return "same", []
    return "changed", [Change(bytes(id), paid[0] if paid else tries, cost)]
