"""Compiling a document into what calls are served from, so that little is done anew when little changed."""

from collections.abc import Callable, Iterator, Mapping

from msgspec import Struct

from dujiang.chat.dispatch import dispatch
from dujiang.chat.pipeline import compose, parse, plan_only
from dujiang.config.budgets import compile_budgets
from dujiang.config.effect import not_in_effect
from dujiang.config.settings import Document
from dujiang.core.protocols import Handler
from dujiang.core.settings import ContentPolicy
from dujiang.identity.accounts import Accounts
from dujiang.identity.budgets import Budgets
from dujiang.identity.counters import Counters
from dujiang.identity.limit_stage import limit
from dujiang.identity.roles import RightsTable, compile_roles
from dujiang.identity.settings import AppSettings
from dujiang.identity.stage import admit, authorise
from dujiang.identity.users import Users
from dujiang.model_compiler import ModelCompiler
from dujiang.providers.credentials import Reveal
from dujiang.providers.local import Embedded
from dujiang.providers.service import Service
from dujiang.providers.services import open_services
from dujiang.records.journal import Journal
from dujiang.records.stage import record
from dujiang.resilience.events import Fleet
from dujiang.resilience.model import Model
from dujiang.resilience.target import Target
from dujiang.routing.catalog import Catalog
from dujiang.routing.stage import route
from dujiang.scenes.compiled import Scenes, compile_scenes
from dujiang.scenes.output_stage import check_output
from dujiang.scenes.stage import render
from dujiang.storage.holds import Holds
from dujiang.storage.store import Store
from dujiang.telemetry.metrics import Metrics
from dujiang.telemetry.stage import observe


class Snapshot(Struct, frozen=True):
    """Everything compiled from one revision of the document. A call takes it once: never a mix of two revisions.

    `handler` answers calls; `planner` only plans them, for those who may read routing.
    """

    revision: int
    document: Document
    handler: Handler
    planner: Handler
    catalog: Catalog[Model]
    rights: RightsTable
    budgets: Budgets
    scenes: Scenes
    services: dict[str, Service]
    not_in_effect: tuple[str, ...]
    total_s: float

    @property
    def models(self) -> Mapping[str, Model]:
        return self.catalog.models

    def targets(self) -> Iterator[Target]:
        """Those of all models."""
        return (target for model in self.models.values() for target in model.targets)

    def begin(self, holds: Holds, before: "Snapshot | None" = None) -> None:
        """Serve from now on, in the place of `before`, by what operators said of targets. On the event loop."""
        known: Mapping[str, Model] = before.models if before is not None else {}
        for name, model in self.models.items():
            if known.get(name) is not model:
                model.begin()
                model.hold(holds)


class Compiler:
    """Compiles documents for one process.

    `expand` replaces `${NAME}`, `reveal` gives stored secrets, `embedded` tells where embedded models listen, `users`
    what is said of users; `fleet` is the processes that serve.
    """

    def __init__(
        self,
        *,
        expand: Callable[[str], str],
        reveal: Reveal,
        embedded: Mapping[str, Embedded],
        metrics: Metrics,
        journal: Journal,
        store: Store,
        accounts: Accounts,
        users: Users,
        fleet: Fleet,
    ) -> None:
        self._fleet = fleet
        self._expand = expand
        self._reveal = reveal
        self._embedded = embedded
        self._metrics = metrics
        self._journal = journal
        self._store = store
        self._accounts = accounts
        self._users = users

    def __call__(self, document: Document, revision: int, before: Snapshot | None = None) -> Snapshot:
        """Opens no connection. Services, models and what is learnt of targets are taken over from `before`.

        A stored secret that cannot be revealed leaves its credential unused, which health tells.
        """
        kept = before.services if before is not None else {}
        services = open_services(document.providers, self._expand, self._reveal, self._embedded, kept)
        models = ModelCompiler(document, revision, services, before, self._fleet).compile()
        catalog = Catalog(models, document.aliases, frozenset(document.routes))
        rights = compile_roles(document.roles, document.apps)
        scenes = compile_scenes(document.scenes, before.scenes if before is not None else None)
        planning = (render(scenes, _schema_models(document)), authorise(document.aliases), route(catalog))
        stages = (
            observe(self._metrics),
            record(self._journal, document.records.content, _content_policies(document.apps)),
            parse(),
            admit(rights, "chat:call", self._users),
            limit(self._store, Counters(document.roles, document.apps, document.limits.default, self._users)),
            *planning,
            check_output(scenes),
        )
        budgets = compile_budgets(document, self._users)
        shares = {name: app.weight for name, app in document.apps.items()}
        handler = compose(stages, dispatch(models, budgets, self._accounts, shares))
        planner = compose((parse(), admit(rights, "routing:read", self._users), *planning), plan_only)
        total_s = max((model.total_s for model in models.values()), default=300.0)
        return Snapshot(
            revision,
            document,
            handler,
            planner,
            catalog,
            rights,
            budgets,
            scenes,
            services,
            not_in_effect(document),
            total_s,
        )


def _schema_models(document: Document) -> frozenset[str]:
    """The names of models that write by a JSON schema when they are asked to."""
    able = {name for name, model in document.models.items() if model.abilities.json_schema}
    return frozenset(able | {alias for alias, name in document.aliases.items() if name in able})


def _content_policies(apps: Mapping[str, AppSettings]) -> dict[str, ContentPolicy]:
    return {name: app.content for name, app in apps.items() if app.content is not None}
