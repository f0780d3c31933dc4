"""Which declared parts of a document this release does not act on yet. Every release makes this page shorter."""

from collections.abc import Iterator

from dujiang.config.settings import Document
from dujiang.core.problem import at

_SECTIONS = ("routes", "cache", "schedule")


def not_in_effect(document: Document) -> tuple[str, ...]:
    """The paths of what a document declares in vain. A default that nobody wrote is not there."""
    return tuple(_paths(document))


def _paths(document: Document) -> Iterator[str]:
    yield from (name for name in _SECTIONS if name in document.declared and getattr(document, name))
    if document.limits.default.max_tokens is not None:
        yield "limits.default.max_tokens"
    yield from _in_budgets(document)
    if document.cors.allow_origins:
        yield "cors"


def _in_budgets(document: Document) -> Iterator[str]:
    """What `cheapest` chooses among are the candidates of `auto`."""
    for n, budget in enumerate(document.budgets):
        if budget.then != "refuse":
            yield f"{at('budgets', n)}.then"
    for name, app in document.apps.items():
        if app.budget is not None and app.budget.then != "refuse":
            yield f"{at('apps', name)}.budget.then"
