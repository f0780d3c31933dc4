"""A row of the fault matrix: what is broken, how it is measured, and what must hold."""

import operator
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

import msgspec
from msgspec import Struct

Figures = Struct
"""What a run of a row measured: a frozen struct whose fields are numbers."""

_HOLDS = {"≤": operator.le, "≥": operator.ge, "=": operator.eq}


class Bound(Struct, frozen=True):
    """What a figure must keep to, as the project's issue says it."""

    figure: str
    relation: Literal["≤", "≥", "="]
    value: float

    def holds(self, figures: Mapping[str, float]) -> bool:
        return bool(_HOLDS[self.relation](figures[self.figure], self.value))

    def __str__(self) -> str:
        return f"{self.figure} {self.relation} {self.value:g}"


class Row(Struct, frozen=True):
    """`measure(data_dir, seconds)` plays it with a gateway and an emulator of its own, for about so long, and may raise
    nothing. `resilience` is what of the document it sets; `zh` is `fault` in Chinese.
    """

    number: str
    fault: str
    zh: str
    measure: Callable[[Path, float], Figures]
    bounds: tuple[Bound, ...]
    seconds: float = 10.0
    resilience: Mapping[str, Any] = {}


def figures(measured: Figures) -> dict[str, float]:
    """The numbers by their names."""
    return {name: float(value) for name, value in msgspec.structs.asdict(measured).items()}


def at_least(figure: str, value: float) -> Bound:
    return Bound(figure, "≥", value)


def at_most(figure: str, value: float) -> Bound:
    return Bound(figure, "≤", value)


def exactly(figure: str, value: float) -> Bound:
    return Bound(figure, "=", value)
