"""Targets to balance among, and a clock that is turned by hand."""

from dujiang.core.money import Cost, Exchange, Price, unpriced
from dujiang.resilience.candidate import TargetLoad


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self, now: float = 1000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


class Target:
    def __init__(self, name: str, weight: float = 1.0, in_flight: int = 0, price: Price = unpriced) -> None:
        self.provider = "vendor"
        self.name = name
        self.credential = "default"
        self.weight = weight
        self.price = price
        self.credit = 0.0
        self.load = TargetLoad()
        self.load.in_flight = in_flight

    def __repr__(self) -> str:
        return f"{self.name}({self.weight}, {self.load.in_flight})"


def priced(per_mtok: int, currency: str = "CNY", rate: str = "1") -> Price:
    """A price that is the same for all tokens, in whole units per million."""
    return lambda usage: Cost(
        (usage.prompt_tokens + usage.completion_tokens) * per_mtok, currency, "document@1", Exchange("CNY", rate)
    )
