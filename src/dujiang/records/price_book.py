"""Which price holds for a call: the document's own, else the catalogue's that comes along, else none.

A price that is not known is `None`: never 0, and never that of a model whose name merely looks alike.
"""

import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Protocol

from dujiang.core.money import Exchange
from dujiang.records.price_catalogue import Catalogue
from dujiang.records.pricing import Price, rates_to, tier_of

_DATE = re.compile(
    r"-(?:20\d\d-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12]\d|3[01])|(?:20)?2\d(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01]))\Z",
    re.ASCII,
)
"""The end of a snapshot's name: `-2024-08-06`, `-20251001`, `-260215`. Anything shorter could be a version."""


class DeclaredPrice(Protocol):
    """A model's price as the document declares it, per million tokens."""

    @property
    def currency(self) -> str: ...
    @property
    def input_per_mtok(self) -> Decimal: ...
    @property
    def output_per_mtok(self) -> Decimal: ...
    @property
    def cached_input_per_mtok(self) -> Decimal | None: ...


class Money(Protocol):
    """The currency of account, and what one unit of another is worth in it."""

    @property
    def currency(self) -> str: ...
    @property
    def rates(self) -> Mapping[str, Decimal]: ...


class PriceBook:
    """Finds the price of a call. `exchanges` has the rate of every currency that can be accounted for."""

    def __init__(self, catalogue: Catalogue, exchanges: Mapping[str, Exchange]) -> None:
        self._catalogue = catalogue
        self.exchanges = exchanges

    def price_of(self, declared: Price | None, kind: str, vendor_model: str, at_ms: int) -> Price | None:
        """The price of a model that a provider of `kind` knows as `vendor_model`, at a time in Unix milliseconds.

        What the document declares for the model holds for every target. Without it the catalogue is asked for exactly
        the vendor's name, and then, if that ends in a date, for the name without it: `gpt-4o-2024-08-06` is `gpt-4o`
        unless it has a price of its own. A price in a currency without a rate is as good as none.
        """
        price = declared if declared is not None else self._listed(kind, vendor_model, at_ms)
        return price if price is not None and price.currency in self.exchanges else None

    def _listed(self, kind: str, vendor_model: str, at_ms: int) -> Price | None:
        name = vendor_model.lower()
        prices = self._catalogue.get((kind, name)) or self._catalogue.get((kind, _DATE.sub("", name)), ())
        for price in prices:
            if price.is_valid_at(at_ms):
                return price
        return None


def open_book(money: Money, catalogue: Catalogue) -> PriceBook:
    """The catalogue's prices, at the document's rates of exchange."""
    rates = rates_to(money.currency, money.rates)
    return PriceBook(catalogue, {name: Exchange(money.currency, f"{rate:f}") for name, rate in rates.items()})


def declared_price(price: DeclaredPrice, revision: int) -> Price:
    """A model's own price, as of the revision that declared it."""
    tier = tier_of(price.input_per_mtok, price.output_per_mtok, price.cached_input_per_mtok)
    return Price(currency=price.currency, tiers=(tier,), version=f"document@{revision}")
