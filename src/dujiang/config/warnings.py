"""What in a sound document is probably not what its author meant."""

import re
from collections.abc import Iterator, Mapping
from time import time

from dujiang.config.references import ADMIN_APP, AUTO
from dujiang.config.scalars import nearest
from dujiang.config.settings import DeclaredModel, Document, Sections
from dujiang.config.upstreams import is_configured
from dujiang.core.problem import Problem, at
from dujiang.identity.settings import RoleSettings
from dujiang.records.price_book import PriceBook, open_book
from dujiang.records.price_catalogue import bundled_catalogue
from dujiang.scenes.settings import VersionSettings
from dujiang.scenes.template import compile_template

_ALMOST_A_PLACE = re.compile(r"\{\{\s+\w+\s*\}\}|\{\{\w+\s+\}\}")


def warnings(document: Document, environ: Mapping[str, str]) -> tuple[Problem, ...]:
    """Doubts about what the document itself declares; `environ` tells which credentials are there."""
    return tuple(warnings_of(document, document, environ))


def warnings_of(suspects: Sections, document: Document, environ: Mapping[str, str]) -> Iterator[Problem]:
    """Doubts about a part of a document."""
    declared = document.declared
    if "providers" in declared and suspects.providers:
        yield from _of_providers(suspects, document)
    if "models" in declared and suspects.models:
        yield from _of_models(suspects, document, environ)
    if "scenes" in declared:
        yield from _of_scenes(suspects, document)
    if "roles" in declared and suspects.roles:
        yield from _of_roles(suspects, document)
    if "alerts" in declared and suspects.alerts.url and not suspects.alerts.secret:
        yield Problem("alerts.secret", "is not there: alerts are not signed")


def _of_providers(suspects: Sections, document: Document) -> Iterator[Problem]:
    used = {target.provider for model in document.models.values() for target in model.targets}
    for name in suspects.providers.keys() - used:
        yield Problem(at("providers", name), "no model has a target there")


def _of_models(suspects: Sections, document: Document, environ: Mapping[str, str]) -> Iterator[Problem]:
    named = {target.provider for model in suspects.models.values() for target in model.targets}
    configured = {name for name in named if is_configured(document.providers[name], environ)}
    book = open_book(document.money, bundled_catalogue())
    for name, model in suspects.models.items():
        path = at("models", name)
        if model.price is None and not _is_listed(model, document, book):
            yield Problem(path, "has no price, here or in the catalogue: what it costs is unknown")
        elif model.price is not None and model.price.currency not in book.exchanges:
            yield Problem(
                f"{path}.price",
                f"is in {model.price.currency}, which `money.rates` does not convert: what it costs is unknown",
            )
        lacking = dict.fromkeys(target.provider for target in model.targets if target.provider not in configured)
        if all(target.provider in lacking for target in model.targets):
            where = ", ".join(at("providers", provider) for provider in lacking)
            yield Problem(path, f"cannot be called: no credential is set for {where}")


def _is_listed(model: DeclaredModel, document: Document, book: PriceBook) -> bool:
    """Whether the catalogue has a price for each target now."""
    now_ms = int(time() * 1000)
    kinds = [(document.providers[target.provider].kind, target.model) for target in model.targets]
    return all(book.price_of(None, kind, vendor_model, now_ms) is not None for kind, vendor_model in kinds)


def _of_scenes(suspects: Sections, document: Document) -> Iterator[Problem]:
    apps = document.apps.keys() | {ADMIN_APP}
    for name, scene in suspects.scenes.items():
        for n, pattern in enumerate(scene.apps):
            if not pattern.endswith("*") and pattern not in apps:
                path = at(at("scenes", name) + ".apps", n)
                yield Problem(path, f"no app `{pattern}` is declared{nearest(pattern, apps)}")
        for n, version in enumerate(scene.versions):
            path = at(at("scenes", name) + ".versions", n)
            yield from (problem.under(path) for problem in _of_version(version))


def _of_version(version: VersionSettings) -> Iterator[Problem]:
    texts = [version.system, *(message.content for message in version.messages)]
    used = {name for text in texts for name in compile_template(text).names}
    for name in version.variables:
        if name not in used:
            yield Problem(at("variables", name), f"no text holds `{{{{{name}}}}}`")
    if any(_ALMOST_A_PLACE.search(text) for text in texts):
        yield Problem("", "`{{ name }}` with spaces is plain text: write `{{name}}`")


def _of_roles(suspects: Sections, document: Document) -> Iterator[Problem]:
    if "admin" not in document.roles:
        yield Problem("roles", "there is no role `admin`: the administrator's key may do nothing")
    for name, role in suspects.roles.items():
        path = at("roles", name)
        if not role.permissions:
            yield Problem(f"{path}.permissions", "permits nothing")
        yield from (problem.under(path) for problem in _of_patterns(role, document))


def _of_patterns(role: RoleSettings, document: Document) -> Iterator[Problem]:
    routes = {f"{AUTO}:{route}" for route in document.routes}
    models = document.models.keys() | document.aliases.keys() | {AUTO} | routes
    for key, patterns, names in (("models", role.models, models), ("scenes", role.scenes, document.scenes.keys())):
        for n, pattern in enumerate(patterns):
            if not pattern.endswith("*") and pattern not in names:
                yield Problem(at(key, n), f"allows `{pattern}`, which does not exist{nearest(pattern, names)}")
