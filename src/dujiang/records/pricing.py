"""What a call costs: prices in integers, one function that applies them, and conversion between currencies.

Amounts are micro-units: millionths of a currency's unit. No float takes part anywhere.
"""

from collections.abc import Mapping
from decimal import ROUND_HALF_UP, Decimal

from msgspec import Struct

from dujiang.core.chat import Usage

MICROS = 1_000_000
"""Micro-units in a unit of any currency, and tokens in the million that a price is quoted for."""


class Tier(Struct, frozen=True):
    """Prices of a whole call whose input is at most `up_to_tokens` long (`None`: however long).

    Each is in micro-units per million tokens. Raises `ValueError` for a negative one.
    """

    input_micros: int
    output_micros: int
    cache_read_micros: int
    cache_write_micros: int
    up_to_tokens: int | None = None

    def __post_init__(self) -> None:
        if min(self.input_micros, self.output_micros, self.cache_read_micros, self.cache_write_micros) < 0:
            raise ValueError("a price is negative")


class Price(Struct, frozen=True):
    """What a model's tokens cost, and when: from `valid_from_ms` until just before `valid_to_ms`, Unix milliseconds.

    `tiers` go from short inputs to long ones; the last one also prices whatever is longer. `version` names where the
    price was found, like `document@7` or `catalogue@2026-11`. Raises `ValueError` for tiers or times out of order.
    """

    currency: str
    tiers: tuple[Tier, ...]
    version: str
    valid_from_ms: int | None = None
    valid_to_ms: int | None = None

    def __post_init__(self) -> None:
        bounds = [tier.up_to_tokens for tier in self.tiers]
        known = [bound for bound in bounds if bound is not None]
        if not bounds or None in bounds[:-1] or known != sorted(set(known)) or (known and known[0] < 1):
            raise ValueError("the tiers of a price must grow")
        if self.valid_from_ms is not None and self.valid_to_ms is not None and self.valid_from_ms >= self.valid_to_ms:
            raise ValueError("a price ends before it begins")

    def is_valid_at(self, at_ms: int) -> bool:
        return (self.valid_from_ms is None or self.valid_from_ms <= at_ms) and (
            self.valid_to_ms is None or at_ms < self.valid_to_ms
        )


def tier_of(
    input_per_mtok: Decimal | str,
    output_per_mtok: Decimal | str,
    cache_read_per_mtok: Decimal | str | None = None,
    cache_write_per_mtok: Decimal | str | None = None,
    up_to_tokens: int | None = None,
) -> Tier:
    """Prices in units of the currency per million tokens. Cached input without a price of its own costs what input
    costs, whether it is read or written.
    """
    return Tier(
        input_micros=micros_of(input_per_mtok),
        output_micros=micros_of(output_per_mtok),
        cache_read_micros=micros_of(input_per_mtok if cache_read_per_mtok is None else cache_read_per_mtok),
        cache_write_micros=micros_of(input_per_mtok if cache_write_per_mtok is None else cache_write_per_mtok),
        up_to_tokens=up_to_tokens,
    )


def micros_of(amount: Decimal | str) -> int:
    """Units of a currency as micro-units; what is finer is rounded half up.

    Raises `ArithmeticError` or `ValueError` where it is not a finite number.
    """
    return int((Decimal(amount) * MICROS).quantize(Decimal(1), ROUND_HALF_UP))


def cost_micros(price: Price, usage: Usage) -> int:
    """What `usage` costs, in micro-units of the price's currency; rounded half up, once, and never negative.

    The length of the whole input, cached or not, chooses the tier, which then prices the whole call. Reasoning costs
    what output costs.
    """
    tiers = price.tiers
    tier = tiers[0] if len(tiers) == 1 else _tier_for(tiers, usage.prompt_tokens)
    total = (
        usage.input_uncached * tier.input_micros
        + usage.cache_read * tier.cache_read_micros
        + usage.cache_write * tier.cache_write_micros
        + (usage.output_visible + usage.reasoning) * tier.output_micros
    )
    return (total + MICROS // 2) // MICROS if total > 0 else 0


def _tier_for(tiers: tuple[Tier, ...], prompt_tokens: int) -> Tier:
    for tier in tiers:
        if tier.up_to_tokens is None or prompt_tokens <= tier.up_to_tokens:
            return tier
    return tiers[-1]


def rates_to(currency: str, rates: Mapping[str, Decimal]) -> dict[str, Decimal]:
    """The rates of the document, completed by the currency of account itself, whose rate is 1."""
    return {**rates, currency: Decimal(1)}


def convert(amount_micros: int, currency: str, to: str, rates: Mapping[str, Decimal]) -> int | None:
    """The amount in another currency, rounded half up; `None` where a rate is not known.

    `rates` says what one unit of each currency is worth in the currency of account, as `rates_to` makes them.
    """
    if currency == to:
        return amount_micros
    if currency not in rates or to not in rates:
        return None
    worth, parts = rates[currency].as_integer_ratio()
    other, other_parts = rates[to].as_integer_ratio()
    above, below = amount_micros * worth * other_parts, parts * other
    return (2 * above + below) // (2 * below)
