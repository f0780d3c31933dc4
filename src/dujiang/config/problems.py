"""Collecting everything that is wrong with a document, and refusing it with all of that at once."""

from collections.abc import Iterable
from typing import Any

from msgspec import Struct

from dujiang.core.errors import Unprocessable
from dujiang.core.problem import Problem

MAX_PROBLEMS = 100
"""Nobody mends more at a time, and a hostile document could hold millions."""


class InvalidDocument(Unprocessable):
    """A document that cannot be used. `problems` holds all that is wrong with it, up to `MAX_PROBLEMS`."""

    def __init__(self, problems: tuple[Problem, ...], what: str = "configuration document") -> None:
        count = "a problem" if len(problems) == 1 else f"{len(problems)} problems"
        super().__init__(
            f"The {what} has {count}: {'; '.join(map(str, problems[:3]))}.", param=problems[0].path or None
        )
        self.problems = problems

    def details(self) -> dict[str, Any]:
        return {"problems": [{"path": problem.path, "message": problem.message} for problem in self.problems]}


class Findings(Struct, frozen=True):
    """What a check of a sound document against the world outside finds: what refuses it, and what does not."""

    problems: tuple[Problem, ...] = ()
    warnings: tuple[Problem, ...] = ()


class Problems:
    """The problems found so far."""

    __slots__ = ("_found",)

    def __init__(self) -> None:
        self._found: dict[Problem, None] = {}

    @property
    def is_full(self) -> bool:
        return len(self._found) >= MAX_PROBLEMS

    def add(self, path: str, message: str) -> None:
        if not self.is_full:
            self._found[Problem(path, message)] = None

    def extend(self, found: Iterable[Problem]) -> None:
        """Add what a check finds, and let it look no further than that."""
        for problem in found:
            self.add(problem.path, problem.message)
            if self.is_full:
                return

    def refuse_if_any(self, what: str = "configuration document") -> None:
        """Raises `InvalidDocument` unless nothing was found."""
        if self._found:
            raise InvalidDocument(tuple(self._found), what)
