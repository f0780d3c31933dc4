"""Which declared parts of a document this release does not act on yet. Every release makes this page shorter."""

from collections.abc import Iterator, Mapping
from itertools import chain
from typing import Any

from msgspec import Struct

from dujiang.config.settings import DeclaredModel, Document
from dujiang.core.problem import at
from dujiang.core.settings import Limits

_SECTIONS = ("routes", "cache", "schedule")
_RESILIENCE = ("retry", "breaker", "concurrency", "fallbacks")
_LIMITS = ("rpm", "tpm", "concurrency")
_STRATEGIES = frozenset({"least_loaded"})


class Unheeded(Struct, frozen=True):
    """The paths of what a document declares in vain. `of_models` has those of the models that have any, by name."""

    document: Document
    of_models: Mapping[str, tuple[str, ...]]
    paths: tuple[str, ...]


def not_in_effect(document: Document) -> tuple[str, ...]:
    """The paths of what a document declares in vain. A default that nobody wrote is not there."""
    return unheeded(document, None).paths


def unheeded(document: Document, before: Unheeded | None) -> Unheeded:
    """As `not_in_effect`. Models that are the same as before are not looked at again."""
    of_models = _in_models(document, before) if "models" in document.declared else {}
    of_providers = _in_providers(document) if "providers" in document.declared else ()
    paths = (*of_providers, *chain.from_iterable(of_models.values()), *_elsewhere(document))
    return Unheeded(document, of_models, paths)


def _elsewhere(document: Document) -> Iterator[str]:
    declared = document.declared
    yield from (name for name in _SECTIONS if name in declared and getattr(document, name))
    yield from (path for key in _RESILIENCE if (path := f"resilience.{key}") in declared)
    if document.resilience.balancing.strategy not in _STRATEGIES:
        yield "resilience.balancing.strategy"
    if document.limits.default.max_tokens is not None:
        yield "limits.default.max_tokens"
    yield from _in_budgets(document)
    if document.cors.allow_origins:
        yield "cors"


def _in_providers(document: Document) -> Iterator[str]:
    for name, provider in document.providers.items():
        yield from _in_limits(provider.limits, at("providers", name))


def _in_models(document: Document, before: Unheeded | None) -> dict[str, tuple[str, ...]]:
    known = before.document.models if before is not None and "models" in before.document.declared else {}
    kept: Mapping[str, tuple[str, ...]] = before.of_models if before is not None else {}
    changed = {name: model for name, model in document.models.items() if known.get(name) is not model}
    found = {name: paths for name, paths in kept.items() if name in document.models and name not in changed}
    made = {name: tuple(_in_model(model, at("models", name))) for name, model in changed.items()}
    return found | {name: paths for name, paths in made.items() if paths}


def _in_model(model: DeclaredModel, path: str) -> Iterator[str]:
    yield from _in_overrides(model.resilience, path)
    for n, target in enumerate(model.targets):
        target_path = at(f"{path}.targets", n)
        yield from _in_limits(target.limits, target_path)
        yield from _in_overrides(target.resilience, target_path)


def _in_overrides(overrides: Mapping[str, Any], path: str) -> Iterator[str]:
    yield from (f"{path}.resilience.{key}" for key in _RESILIENCE if key in overrides)
    if overrides.get("balancing", {}).get("strategy", "least_loaded") not in _STRATEGIES:
        yield f"{path}.resilience.balancing.strategy"


def _in_budgets(document: Document) -> Iterator[str]:
    """What `cheapest` chooses among are the candidates of `auto`."""
    for n, budget in enumerate(document.budgets):
        if budget.then != "refuse":
            yield f"{at('budgets', n)}.then"
    for name, app in document.apps.items():
        if app.budget is not None and app.budget.then != "refuse":
            yield f"{at('apps', name)}.budget.then"


def _in_limits(limits: Limits, path: str) -> Iterator[str]:
    yield from (f"{path}.limits.{key}" for key in _LIMITS if getattr(limits, key) is not None)
