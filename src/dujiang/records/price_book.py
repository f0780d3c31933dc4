"""Which price holds for a call: the document's own, else the catalogue's that comes along, else none.

A price that is not known is `None`: never 0, and never that of a model whose name merely looks alike.
"""

import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Protocol

from dujiang.records.price_catalogue import Catalogue
from dujiang.records.pricing import Price, tier_of

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


class PriceBook:
    """Finds the price of a call."""

    def __init__(self, declared: Mapping[str, Price], catalogue: Catalogue) -> None:
        self._declared = declared
        self._catalogue = catalogue

    def price_of(self, model: str, kind: str, vendor_model: str, at_ms: int) -> Price | None:
        """The price of `model`, which a provider of `kind` knows as `vendor_model`, at a time in Unix milliseconds.

        The document's price for `model` holds for every target. Without one the catalogue is asked for exactly the
        vendor's name, and then, if that ends in a date, for the name without it: `gpt-4o-2024-08-06` is `gpt-4o`
        unless it has a price of its own.
        """
        if (price := self._declared.get(model)) is not None:
            return price
        name = vendor_model.lower()
        prices = self._catalogue.get((kind, name)) or self._catalogue.get((kind, _DATE.sub("", name)), ())
        for price in prices:
            if price.is_valid_at(at_ms):
                return price
        return None


def compile_prices(models: Mapping[str, DeclaredPrice | None], revision: int, catalogue: Catalogue) -> PriceBook:
    """The prices of a revision of the document, by model, before those of the catalogue."""
    version = f"document@{revision}"
    return PriceBook(
        {name: _declared(price, version) for name, price in models.items() if price is not None}, catalogue
    )


def _declared(price: DeclaredPrice, version: str) -> Price:
    tier = tier_of(price.input_per_mtok, price.output_per_mtok, price.cached_input_per_mtok)
    return Price(currency=price.currency, tiers=(tier,), version=version)
