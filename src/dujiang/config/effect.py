"""Which declared parts of a document this release does not act on yet. Every release makes this page shorter."""

from collections.abc import Iterator, Mapping
from typing import Any

from dujiang.config.settings import Document
from dujiang.core.problem import at
from dujiang.core.settings import Limits

_SECTIONS = ("routes", "cache", "limits", "budgets", "schedule")
_RESILIENCE = ("retry", "breaker", "concurrency", "fallbacks")
_LIMITS = ("rpm", "tpm", "concurrency")
_STRATEGIES = frozenset({"least_loaded"})


def not_in_effect(document: Document) -> tuple[str, ...]:
    """The paths of what a document declares in vain, in its order. A default that nobody wrote is not there."""
    return tuple(_unheeded(document))


def _unheeded(document: Document) -> Iterator[str]:
    declared = document.declared
    if "providers" in declared:
        yield from _in_providers(document)
    if "models" in declared:
        yield from _in_models(document)
    yield from (name for name in _SECTIONS if name in declared and getattr(document, name))
    yield from (path for key in _RESILIENCE if (path := f"resilience.{key}") in declared)
    if document.resilience.balancing.strategy not in _STRATEGIES:
        yield "resilience.balancing.strategy"
    if document.money.unknown_price != "allow":
        yield "money.unknown_price"
    yield from _in_identity(document)
    if document.alerts.url:
        yield "alerts"
    if document.cors.allow_origins:
        yield "cors"


def _in_providers(document: Document) -> Iterator[str]:
    for name, provider in document.providers.items():
        yield from _in_limits(provider.limits, at("providers", name))


def _in_models(document: Document) -> Iterator[str]:
    for name, model in document.models.items():
        path = at("models", name)
        yield from _in_overrides(model.resilience, path)
        for n, target in enumerate(model.targets):
            target_path = at(f"{path}.targets", n)
            yield from _in_limits(target.limits, target_path)
            yield from _in_overrides(target.resilience, target_path)


def _in_overrides(overrides: Mapping[str, Any], path: str) -> Iterator[str]:
    yield from (f"{path}.resilience.{key}" for key in _RESILIENCE if key in overrides)
    if overrides.get("balancing", {}).get("strategy", "least_loaded") not in _STRATEGIES:
        yield f"{path}.resilience.balancing.strategy"


def _in_identity(document: Document) -> Iterator[str]:
    for name, app in document.apps.items():
        path = at("apps", name)
        yield from _in_limits(app.limits, path)
        if app.budget is not None:
            yield f"{path}.budget"
    if "roles" in document.declared:
        for name, role in document.roles.items():
            yield from _in_limits(role.limits, at("roles", name))


def _in_limits(limits: Limits, path: str) -> Iterator[str]:
    yield from (f"{path}.limits.{key}" for key in _LIMITS if getattr(limits, key) is not None)
