"""Targets and models for tests of what asks them."""

from collections.abc import Callable, Sequence
from functools import partial
from random import Random
from time import monotonic

from dujiang.core.errors import Misconfigured
from dujiang.core.money import Price, unpriced
from dujiang.core.protocols import Handler
from dujiang.resilience.balancer import compile_balancers
from dujiang.resilience.events import Herald, tell_of_credential
from dujiang.resilience.gate import Gate
from dujiang.resilience.model import Model
from dujiang.resilience.parking import Parking
from dujiang.resilience.retry_budget import RetryBudget
from dujiang.resilience.settings import ResilienceSettings, RetrySettings
from dujiang.resilience.target import Door, Load, Place, Target, Upstream

SETTINGS = ResilienceSettings(retry=RetrySettings(max_attempts=1))


def a_target(
    open: Handler,
    name: str | Place = "p/m",
    price: Price = unpriced,
    settings: ResilienceSettings = SETTINGS,
    clock: Callable[[], float] = monotonic,
    herald: Herald | None = None,
    parkings: dict[tuple[str, str], Parking] | None = None,
    model: str = "m",
) -> Target:
    """A target of a model. Of those with the same `parkings`, one parking is each credential's."""
    draw = Random(7).random
    place = name if isinstance(name, Place) else Place(name.partition("/")[0], name, "main")
    herald = herald or Herald("alone", lambda _: None)
    known = parkings if parkings is not None else {}
    return Target(
        place,
        1.0,
        Door(open),
        Load(settings, clock, draw, partial(herald.tell, model, place)),
        known.setdefault(place[::2], Parking(clock, draw, on_change=partial(tell_of_credential, herald, place))),
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
