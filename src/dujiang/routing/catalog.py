"""The models that can be asked, and the plan for asking each by name."""

from collections.abc import Mapping
from typing import Generic, Protocol, TypeVar

from dujiang.core.call import One, Plan


class Planned(Protocol):
    """A model that can be asked by its name."""

    @property
    def plan(self) -> Plan: ...


M = TypeVar("M", bound=Planned)


class Catalog(Generic[M]):
    """All models and aliases of one snapshot."""

    def __init__(self, models: Mapping[str, M], aliases: Mapping[str, str], routes: frozenset[str]) -> None:
        self.models = models
        self.aliases = aliases
        self.routes = routes
        self.plans = {name: model.plan for name, model in models.items()}
        self.plans |= {alias: Plan((One(name),), alias, "alias") for alias, name in aliases.items() if name in models}
