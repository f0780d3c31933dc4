"""Which declared parts of a document this release does not act on yet. Every release makes this page shorter."""

from collections.abc import Iterator, Mapping
from typing import Any

from dujiang.config.settings import Document
from dujiang.core.problem import at
from dujiang.resilience.settings import FALLBACKS

_SECTIONS = ("routes", "cache", "schedule")
_NOT_OF_MODELS = ("probe",)
_NOT_OF_TARGETS = (
    "retry",
    "breaker.max_ejected_ratio",
    "concurrency.queue",
    "concurrency.max_wait_s",
    "balancing",
    *FALLBACKS,
    "probe",
)


def not_in_effect(document: Document) -> tuple[str, ...]:
    """The paths of what a document declares in vain. A default that nobody wrote is not there."""
    return tuple(_paths(document))


def _paths(document: Document) -> Iterator[str]:
    yield from (name for name in _SECTIONS if name in document.declared and getattr(document, name))
    yield from _in_models(document)
    if document.limits.default.max_tokens is not None:
        yield "limits.default.max_tokens"
    yield from _in_budgets(document)
    if document.cors.allow_origins:
        yield "cors"


def _in_models(document: Document) -> Iterator[str]:
    """Who is asked, how often, and who waits is said by a model, not by its targets; how often is probed by neither."""
    for name, model in document.models.items():
        if model.resilience:
            yield from _in_overrides(model.resilience, at("models", name), _NOT_OF_MODELS)
        for n, target in enumerate(model.targets):
            if target.resilience:
                path = at(f"{at('models', name)}.targets", n)
                yield from _in_overrides(target.resilience, path, _NOT_OF_TARGETS)


def _in_overrides(overrides: Mapping[str, Any], path: str, in_vain: tuple[str, ...]) -> Iterator[str]:
    for key in in_vain:
        group, _, name = key.partition(".")
        if group in overrides and (not name or name in overrides[group]):
            yield f"{path}.resilience.{key}"


def _in_budgets(document: Document) -> Iterator[str]:
    """What `cheapest` chooses among are the candidates of `auto`."""
    for n, budget in enumerate(document.budgets):
        if budget.then != "refuse":
            yield f"{at('budgets', n)}.then"
    for name, app in document.apps.items():
        if app.budget is not None and app.budget.then != "refuse":
            yield f"{at('apps', name)}.budget.then"
