"""The models that can be asked, compiled: each with its targets, ready to be called."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Literal

from dujiang.core.call import One, Plan
from dujiang.core.errors import AppError
from dujiang.core.money import Price, unpriced
from dujiang.core.protocols import Handler

State = Literal["ok", "failing", "unused"]


class Load:
    """What is learnt of a target, which outlives the revision that declares it.

    `in_flight` counts the calls that it is serving now. `state` is what calls met last; `since` when that began (ISO
    8601, UTC); `reason` the code of the last failure.
    """

    __slots__ = ("in_flight", "reason", "since", "state")

    def __init__(self) -> None:
        self.in_flight = 0
        self.state: State = "unused"
        self.since: str | None = None
        self.reason: str | None = None

    def note(self, reason: str | None) -> None:
        """Remember how an attempt went: None for well, else the code of its error."""
        state = "ok" if reason is None else "failing"
        self.reason = reason
        if state != self.state:
            self.state = state
            self.since = datetime.now(UTC).isoformat(timespec="seconds")


class Target:
    """One model at one provider under one credential."""

    __slots__ = ("credential", "credit", "load", "name", "open", "price", "provider", "weight")

    def __init__(
        self,
        provider: str,
        name: str,
        credential: str,
        weight: float,
        open: Handler,
        price: Price = unpriced,
        load: Load | None = None,
    ) -> None:
        self.provider = provider
        self.name = name
        self.credential = credential
        self.weight = weight
        self.open = open
        self.price = price
        self.load = load or Load()
        self.credit = 0.0


class Model:
    """A configured model, and the plan for asking it by its name; `total_s` is the most that a call of it may take.

    When it has no target to ask, `missing` is the error that says what an operator must do.
    """

    __slots__ = ("missing", "name", "plan", "targets", "total_s", "version")

    def __init__(
        self, name: str, version: str, targets: tuple[Target, ...], missing: AppError, total_s: float = 300.0
    ) -> None:
        self.name = name
        self.version = version
        self.targets = targets
        self.missing = missing
        self.total_s = total_s
        self.plan = Plan((One(name),), name, "named")


class Catalog:
    """All models and aliases of one snapshot, and the plan for asking each by name."""

    def __init__(self, models: Mapping[str, Model], aliases: Mapping[str, str], routes: frozenset[str]) -> None:
        self.models = models
        self.aliases = aliases
        self.routes = routes
        self.plans = {name: model.plan for name, model in models.items()}
        self.plans |= {alias: Plan((One(name),), alias, "alias") for alias, name in aliases.items() if name in models}
