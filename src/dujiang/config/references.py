"""Whether what a document names exists in it."""

from collections.abc import Collection, Iterable, Iterator, KeysView, Mapping
from graphlib import CycleError, TopologicalSorter
from typing import Any, cast

from msgspec import Struct

from dujiang.config.scalars import nearest
from dujiang.config.settings import DeclaredModel, Sections
from dujiang.core.problem import Problem, at
from dujiang.identity.permissions import PERMISSIONS
from dujiang.identity.settings import AppSettings, BudgetSettings
from dujiang.resilience.settings import FALLBACKS
from dujiang.routing.settings import RouteSettings
from dujiang.scenes.settings import SceneSettings

AUTO = "auto"
ADMIN_APP = "admin"

Names = KeysView[str] | frozenset[str]


class Known(Struct, frozen=True):
    """The names that a document declares, entries with problems of their own included."""

    providers: Names
    models: Names
    aliases: Names
    routes: Names
    scenes: Names
    apps: Names
    roles: Names

    def model_problem(self, name: str, *, path: str) -> Iterator[Problem]:
        """A problem unless `name` is a model or an alias."""
        if name not in self.models and name not in self.aliases:
            yield Problem(path, f"there is no model `{name}`{nearest(name, self.models | self.aliases)}")

    def requested_problem(self, name: str, *, path: str) -> Iterator[Problem]:
        """A problem unless `name` is what a caller may ask for: a model, an alias, `auto` or `auto:ROUTE`."""
        if name.startswith(f"{AUTO}:"):
            yield from missing(name.removeprefix(f"{AUTO}:"), self.routes, "route", path=path)
        elif name != AUTO:
            yield from self.model_problem(name, path=path)


def known_names(tree: Mapping[str, Any]) -> Known:
    """Those that a tree declares, which may be unsound."""

    def names(section: str) -> Names:
        written = tree.get(section)
        return cast("dict[str, Any]", written).keys() if isinstance(written, dict) else frozenset()

    return Known(**{field: names(field) for field in Known.__struct_fields__})


def missing(name: str, known: Collection[str], noun: str, *, path: str) -> Iterator[Problem]:
    """A problem unless `name` is among the known."""
    if name not in known:
        yield Problem(path, f"there is no {noun} `{name}`{nearest(name, known)}")


def reference_problems(sections: Sections, known: Known) -> Iterator[Problem]:
    for name, model in sections.models.items():
        yield from _model_problems(name, model, known)
    yield from _alias_problems(sections.aliases, known)
    for name, route in sections.routes.items():
        yield from _route_problems(name, route, known)
    for kind in FALLBACKS:
        yield from _fallback_problems(getattr(sections.resilience, kind), known, f"resilience.{kind}")
    for name, scene in sections.scenes.items():
        yield from _scene_problems(name, scene, known)
    for name, app in sections.apps.items():
        yield from _app_problems(name, app, known)
    for name, role in sections.roles.items():
        yield from _permission_problems(role.permissions, at("roles", name) + ".permissions")
    for n, budget in enumerate(sections.budgets):
        yield from _subject_problems(budget, known, at("budgets", n) + ".subject")
    yield from known.requested_problem(sections.schedule.model, path="schedule.model")


def _route_problems(name: str, route: RouteSettings, known: Known) -> Iterator[Problem]:
    path = at("routes", name)
    for n, candidate in enumerate(route.candidates):
        yield from known.model_problem(candidate, path=at(f"{path}.candidates", n))
    if route.fallback is not None:
        yield from known.model_problem(route.fallback, path=f"{path}.fallback")


def _scene_problems(name: str, scene: SceneSettings, known: Known) -> Iterator[Problem]:
    for n, pattern in enumerate(scene.roles):
        if not pattern.endswith("*"):
            yield from missing(pattern, known.roles, "role", path=at(at("scenes", name) + ".roles", n))
    for n, version in enumerate(scene.versions):
        if version.model is not None:
            path = at(at("scenes", name) + ".versions", n)
            yield from known.requested_problem(version.model, path=f"{path}.model")


def _model_problems(name: str, model: DeclaredModel, known: Known) -> Iterator[Problem]:
    path = at("models", name)
    if _is_reserved(name):
        yield Problem(path, "`auto` is reserved for dynamic selection: choose another name")
    yield from _override_problems(model.resilience, known, path)
    for n, target in enumerate(model.targets):
        target_path = at(f"{path}.targets", n)
        yield from missing(target.provider, known.providers, "provider", path=f"{target_path}.provider")
        yield from _override_problems(target.resilience, known, target_path)


def _override_problems(overrides: Mapping[str, Any], known: Known, path: str) -> Iterator[Problem]:
    for kind in FALLBACKS:
        yield from _fallback_problems(overrides.get(kind, {}), known, f"{path}.resilience.{kind}")


def _alias_problems(aliases: Mapping[str, str], known: Known) -> Iterator[Problem]:
    for name, model in aliases.items():
        path = at("aliases", name)
        if _is_reserved(name):
            yield Problem(path, "`auto` is reserved for dynamic selection: choose another name")
        if name in known.models:
            yield Problem(path, "there is a model of this name, which the alias would hide")
        yield from missing(model, known.models, "model", path=path)


def _fallback_problems(fallbacks: Mapping[str, Iterable[str]], known: Known, path: str) -> Iterator[Problem]:
    for name, others in fallbacks.items():
        yield from known.model_problem(name, path=at(path, name))
        for n, other in enumerate(others):
            yield from known.model_problem(other, path=at(at(path, name), n))
    try:
        TopologicalSorter(fallbacks).prepare()
    except CycleError as error:
        loop = " → ".join(reversed(error.args[1]))
        yield Problem(path, f"fallbacks lead in a circle: {loop}")


def _app_problems(name: str, app: AppSettings, known: Known) -> Iterator[Problem]:
    path = at("apps", name)
    if name == ADMIN_APP:
        yield Problem(path, "the app `admin` is built in: choose another name")
    for n, pattern in enumerate(app.models):
        if not pattern.endswith("*"):
            yield from known.requested_problem(pattern, path=at(f"{path}.models", n))
    for n, pattern in enumerate(app.scenes):
        if not pattern.endswith("*"):
            yield from missing(pattern, known.scenes, "scene", path=at(f"{path}.scenes", n))
    if app.unknown_role is not None:
        yield from missing(app.unknown_role, known.roles, "role", path=f"{path}.unknown_role")


def _permission_problems(patterns: Iterable[str], path: str) -> Iterator[Problem]:
    resources = {permission.partition(":")[0] for permission in PERMISSIONS}
    accepted = PERMISSIONS | {f"{resource}:*" for resource in resources} | {"*"}
    for n, pattern in enumerate(patterns):
        yield from missing(pattern, accepted, "permission", path=at(path, n))


def _subject_problems(budget: BudgetSettings, known: Known, path: str) -> Iterator[Problem]:
    kind, _, subject = budget.subject.partition(":")
    name = subject.partition("/")[0]
    if name == "*" or kind == "key":
        return
    names = known.roles if kind == "role" else known.apps | {ADMIN_APP}
    yield from missing(name, names, "role" if kind == "role" else "app", path=path)


def _is_reserved(name: str) -> bool:
    return name == AUTO or name.startswith(f"{AUTO}:")
