"""Targets and models for tests of what asks them."""

from collections.abc import Sequence
from random import Random
from time import monotonic

from dujiang.core.errors import Misconfigured
from dujiang.core.money import Price, unpriced
from dujiang.core.protocols import Handler
from dujiang.resilience.balancer import compile_balancers
from dujiang.resilience.gate import Gate
from dujiang.resilience.model import Model
from dujiang.resilience.parking import Parking
from dujiang.resilience.retry_budget import RetryBudget
from dujiang.resilience.settings import ResilienceSettings, RetrySettings
from dujiang.resilience.target import Load, Place, Target, Upstream

SETTINGS = ResilienceSettings(retry=RetrySettings(max_attempts=1))


def a_target(
    open: Handler, name: str = "p/m", price: Price = unpriced, settings: ResilienceSettings = SETTINGS
) -> Target:
    draw = Random(7).random
    return Target(
        Place(name.partition("/")[0], name, "main"),
        1.0,
        open,
        Load(settings, monotonic, draw),
        Parking(monotonic, draw),
        Upstream(),
        settings=settings,
        price=price,
    )


def a_model(
    targets: Sequence[Target], name: str = "m", settings: ResilienceSettings = SETTINGS, gate: Gate | None = None
) -> Model:
    retries = RetryBudget(settings.retry.budget_ratio, monotonic)
    balancers = compile_balancers(settings.balancing, targets, monotonic, Random(7).random)
    return Model(name, "", targets, Misconfigured("none"), settings, retries, balancers, gate)
