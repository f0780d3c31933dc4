"""The `models`, `aliases`, `routes` and `money` of the document."""

from typing import Annotated, Literal

from msgspec import Meta

from dujiang.core.settings import (
    Amount,
    Budget,
    Count,
    Currency,
    Limits,
    ModelName,
    Name,
    PositiveAmount,
    Ratio,
    Settings,
    VendorName,
    Weight,
)


class AbilitySettings(Settings):
    """What a model can do; `None` is not known."""

    context_tokens: Count | None = None
    tools: bool | None = None
    vision: bool | None = None
    json_schema: bool | None = None


class PriceSettings(Settings):
    """Prices per million tokens. Without `cached_input_per_mtok`, cached input costs what input costs."""

    currency: Currency
    input_per_mtok: Amount
    output_per_mtok: Amount
    cached_input_per_mtok: Amount | None = None


class TargetSettings(Settings):
    """One place that serves a model: a provider and what the provider calls it. `weight` is its share of the calls."""

    provider: Name
    model: VendorName
    weight: Weight = 1
    limits: Limits = Limits()


class ModelSettings(Settings):
    """A model as callers name it. `version` is its dated part; `quality` is the prior of dynamic selection."""

    targets: Annotated[tuple[TargetSettings, ...], Meta(min_length=1)]
    version: Annotated[str, Meta(max_length=64)] = ""
    abilities: AbilitySettings = AbilitySettings()
    price: PriceSettings | None = None
    quality: Ratio | None = None


class RouteSettings(Settings):
    """What `auto:NAME` chooses from, and by which rule."""

    candidates: Annotated[tuple[ModelName, ...], Meta(min_length=1)]
    quality_floor: Ratio = 0.95
    cascades: bool = True
    fallback: ModelName | None = None
    cascade_streams: bool = False
    budget: Budget | None = None


class MoneySettings(Settings):
    """The currency of account, what one unit of another is worth in it, and what an unpriced model may do."""

    currency: Currency = "CNY"
    rates: dict[Currency, PositiveAmount] = {}
    unknown_price: Literal["allow", "refuse"] = "allow"
