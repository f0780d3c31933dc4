"""The `resilience` of the document, and how a model or a target overrides it."""

from collections.abc import Iterator
from typing import Annotated, Any, Literal, cast

import msgspec
from msgspec import Meta

from dujiang.core.problem import Problem
from dujiang.core.settings import Count, Delay, ModelName, Ratio, Seconds, Settings


class TimeoutSettings(Settings):
    """The clocks of an attempt. Those from `first_token_s` on are for streams only."""

    connect_s: Seconds = 3
    total_s: Seconds = 300
    first_token_s: Seconds = 30
    idle_s: Seconds = 20
    min_tokens_per_s: Annotated[float, Meta(gt=0, le=1000)] | None = None


class RetrySettings(Settings):
    """How often and how late a failed attempt is repeated; `budget_ratio` bounds retries by the share of all calls."""

    max_attempts: Annotated[int, Meta(ge=1, le=20)] = 3
    base_delay_s: Delay = 0.25
    max_delay_s: Delay = 5
    budget_ratio: Ratio = 0.2


class BreakerSettings(Settings):
    """When a failing target is left alone, for how long, and how it is tried again."""

    window: Annotated[int, Meta(ge=1, le=100_000)] = 20
    min_calls: Annotated[int, Meta(ge=1, le=100_000)] = 5
    failure_ratio: Annotated[float, Meta(gt=0, le=1)] = 0.5
    open_s: Seconds = 10
    max_open_s: Seconds = 300
    probes: Annotated[int, Meta(ge=1, le=1000)] = 1
    max_ejected_ratio: Ratio = 0.5


class ConcurrencySettings(Settings):
    """How many calls a target gets at once, and how many may wait for how long."""

    limit: Count = 256
    adaptive: bool = True
    queue: Annotated[int, Meta(ge=0, le=1_000_000)] = 512
    max_wait_s: Delay = 5


class ProbeSettings(Settings):
    """How often services of ill targets are asked, for free, whether they are there again; 0: never."""

    interval_s: Delay = 10


class BalancingSettings(Settings):
    """How a model's calls are divided among its targets."""

    strategy: Literal["least_loaded", "weighted", "latency", "cost", "sticky"] = "least_loaded"


Fallbacks = dict[ModelName, Annotated[tuple[ModelName, ...], Meta(min_length=1)]]


class ResilienceSettings(Settings):
    """`fallbacks` names, for a model, those that are asked when it cannot answer, in order; `fallbacks_too_long` when
    the prompt is longer than it takes, `fallbacks_filtered` when its vendor's filter refuses the content.
    """

    timeouts: TimeoutSettings = TimeoutSettings()
    retry: RetrySettings = RetrySettings()
    breaker: BreakerSettings = BreakerSettings()
    concurrency: ConcurrencySettings = ConcurrencySettings()
    balancing: BalancingSettings = BalancingSettings()
    probe: ProbeSettings = ProbeSettings()
    fallbacks: Fallbacks = {}
    fallbacks_too_long: Fallbacks = {}
    fallbacks_filtered: Fallbacks = {}


FALLBACKS = ("fallbacks", "fallbacks_too_long", "fallbacks_filtered")

ResilienceOverrides = Annotated[dict[str, Any], Meta(extra={"keys_of": ResilienceSettings})]
"""Any part of `ResilienceSettings`, kept as it was written: what is not said stays as it is."""


def overridden(base: ResilienceSettings, overrides: ResilienceOverrides) -> ResilienceSettings:
    """`base` with what `overrides` says, key by key."""
    merged = cast("dict[str, dict[str, Any]]", msgspec.to_builtins(base))
    for group, keys in overrides.items():
        merged[group] = {**merged.get(group, {}), **keys}
    return msgspec.convert(merged, ResilienceSettings)


def contradictions(settings: ResilienceSettings) -> Iterator[Problem]:
    """Pairs of values that cannot both be meant."""
    retry, breaker = settings.retry, settings.breaker
    if retry.max_delay_s < retry.base_delay_s:
        yield Problem("retry.max_delay_s", "must not be less than `base_delay_s`")
    if breaker.max_open_s < breaker.open_s:
        yield Problem("breaker.max_open_s", "must not be less than `open_s`")
    if breaker.min_calls > breaker.window:
        yield Problem("breaker.min_calls", "must not be more than `window`")
