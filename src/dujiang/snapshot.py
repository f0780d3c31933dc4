"""Compiling a document into what calls are served from, so that little is done anew when little changed."""

from collections.abc import Callable, Iterator, Mapping
from random import random
from time import monotonic, time

from msgspec import Struct
from msgspec.structs import replace

from dujiang.chat.dispatch import dispatch
from dujiang.chat.pipeline import compose, parse
from dujiang.config.budgets import compile_budgets
from dujiang.config.effect import Unheeded, unheeded
from dujiang.config.settings import DeclaredModel, DeclaredTarget, Document
from dujiang.core.chat import Usage
from dujiang.core.errors import AppError, Misconfigured
from dujiang.core.money import Cost, Price
from dujiang.core.protocols import Handler
from dujiang.core.settings import ContentPolicy, Limits
from dujiang.identity.accounts import Accounts
from dujiang.identity.budgets import Budgets
from dujiang.identity.counters import Counters
from dujiang.identity.limit_stage import limit
from dujiang.identity.roles import RightsTable, compile_roles
from dujiang.identity.settings import AppSettings
from dujiang.identity.stage import admit, authorise
from dujiang.identity.users import Users
from dujiang.providers.clocks import Clocks
from dujiang.providers.credentials import Reveal
from dujiang.providers.local import Embedded
from dujiang.providers.service import Service
from dujiang.providers.services import open_services
from dujiang.records.journal import Journal
from dujiang.records.price_book import PriceBook, declared_price, open_book
from dujiang.records.price_catalogue import bundled_catalogue
from dujiang.records.pricing import Price as ListedPrice
from dujiang.records.pricing import cost_micros
from dujiang.records.stage import record
from dujiang.resilience.balancer import compile_balancers
from dujiang.resilience.model import Model
from dujiang.resilience.parking import Parking
from dujiang.resilience.retry_budget import RetryBudget
from dujiang.resilience.settings import ConcurrencySettings, ResilienceSettings, overridden
from dujiang.resilience.target import Load, Place, Places, Shared, Target
from dujiang.resilience.vendor_limits import VendorLimits
from dujiang.routing.catalog import Catalog
from dujiang.routing.stage import route
from dujiang.scenes.compiled import Scenes, compile_scenes
from dujiang.scenes.output_stage import check_output
from dujiang.scenes.stage import render
from dujiang.storage.store import Store
from dujiang.telemetry.metrics import Metrics
from dujiang.telemetry.stage import observe


class Snapshot(Struct, frozen=True):
    """Everything compiled from one revision of the document. A call takes it once: never a mix of two revisions."""

    revision: int
    document: Document
    handler: Handler
    catalog: Catalog[Model]
    rights: RightsTable
    budgets: Budgets
    scenes: Scenes
    services: dict[str, Service]
    unheeded: Unheeded
    total_s: float

    def targets(self) -> Iterator[Target]:
        """Those of all models."""
        return (target for model in self.catalog.models.values() for target in model.targets)


class Compiler:
    """Compiles documents for one process.

    `expand` replaces `${NAME}`, `reveal` gives stored secrets, `embedded` tells where embedded models listen, `users`
    what is said of users.
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
        workers: int = 1,
    ) -> None:
        self._workers = workers
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
        models = _Models(document, revision, services, before, self._workers).compile()
        catalog = Catalog(models, document.aliases, frozenset(document.routes))
        rights = compile_roles(document.roles, document.apps)
        scenes = compile_scenes(document.scenes, before.scenes if before is not None else None)
        declared_in_vain = unheeded(document, before.unheeded if before is not None else None)
        stages = (
            observe(self._metrics),
            record(self._journal, document.records.content, _content_policies(document.apps)),
            parse(),
            admit(rights, "chat:call", self._users),
            limit(self._store, Counters(document.roles, document.apps, document.limits.default, self._users)),
            render(scenes, _schema_models(document)),
            authorise(document.aliases),
            route(catalog),
            check_output(scenes),
        )
        budgets = compile_budgets(document, self._users)
        handler = compose(stages, dispatch(models, budgets, self._accounts))
        total_s = max((model.total_s for model in models.values()), default=300.0)
        return Snapshot(
            revision, document, handler, catalog, rights, budgets, scenes, services, declared_in_vain, total_s
        )


class _Models:
    """Compiles the models of a document, those alone that are not the same as before."""

    def __init__(
        self,
        document: Document,
        revision: int,
        services: Mapping[str, Service],
        before: Snapshot | None,
        workers: int,
    ) -> None:
        self._workers = workers
        self._parkings: dict[tuple[str, str], Parking] = {}
        self._places: dict[str, Places] = {}
        self._provider_limits: dict[str, VendorLimits] = {}
        self._document = document
        self._revision = revision
        self._services = services
        self._before = before
        self._book = open_book(document.money, bundled_catalogue())
        self._unchanged = _unchanged(document, services, before)

    def compile(self) -> dict[str, Model]:
        known: Mapping[str, Model] = self._before.catalog.models if self._before is not None else {}
        return {
            name: known[name] if name in self._unchanged else self._model(name, settings, known.get(name))
            for name, settings in self._document.models.items()
        }

    def _model(self, name: str, settings: DeclaredModel, before: Model | None) -> Model:
        learnt = {(each.name, each.credential): each for each in before.targets} if before is not None else {}
        declared = declared_price(settings.price, self._revision) if settings.price is not None else None
        targets: list[Target] = []
        absent: list[Service] = []
        for target in settings.targets:
            service = self._services[target.provider]
            if service.missing:
                absent.append(service)
            else:
                targets += self._targets(settings, target, declared, learnt)
        resilience = _resilience(self._document, settings)
        retries = before.retries if before is not None else RetryBudget(resilience.retry.budget_ratio, monotonic)
        retries.apply(resilience.retry.budget_ratio)
        balancers = compile_balancers(resilience.balancing, targets, monotonic, random)
        missing = _missing(name, absent)
        return Model(name, settings.version, tuple(targets), missing, resilience, retries, balancers)

    def _targets(
        self,
        model: DeclaredModel,
        target: DeclaredTarget,
        declared: ListedPrice | None,
        learnt: Mapping[tuple[str, str], Target],
    ) -> list[Target]:
        """A target for each credential of the provider."""
        resilience = _resilience(self._document, model, target)
        timeouts = resilience.timeouts
        clocks = Clocks(timeouts.connect_s, timeouts.total_s, timeouts.first_token_s, timeouts.idle_s)
        endpoints = self._services[target.provider].endpoints(target.model, clocks)
        total_weight = sum(endpoint.weight for endpoint in endpoints)
        price = _price(self._book, declared, self._document.providers[target.provider].kind, target.model)
        label = f"{target.provider}/{target.model}"
        found: list[Target] = []
        for endpoint in endpoints:
            before = learnt.get((label, endpoint.credential))
            concurrency = self._concurrency(resilience.concurrency, target)
            load = before.load if before is not None else Load(resilience.breaker, concurrency, monotonic, random)
            load.apply(resilience.breaker, concurrency)
            found.append(
                Target(
                    Place(target.provider, label, endpoint.credential),
                    target.weight * endpoint.weight / total_weight,
                    endpoint.open,
                    load,
                    Shared(
                        self._parking(target.provider, endpoint.credential),
                        self._places_of(target.provider),
                        self._limits(target),
                    ),
                    price,
                    timeouts,
                )
            )
        return found

    def _parking(self, provider: str, credential: str) -> Parking:
        """What is learnt of a credential, until its provider is another."""
        known = self._parkings.get((provider, credential))
        if known is None:
            is_same = self._before is not None and self._before.services.get(provider) is self._services[provider]
            targets = self._before.targets() if self._before is not None and is_same else ()
            same = (each for each in targets if (each.provider, each.credential) == (provider, credential))
            before = next(same, None)
            known = before.parking if before is not None else Parking(monotonic, random)
            self._parkings[provider, credential] = known
        return known

    def _places_of(self, provider: str) -> Places:
        """The places of a provider, this worker's share of them."""
        if provider not in self._places:
            limit = self._document.providers[provider].limits.concurrency
            self._places[provider] = Places() if limit is None else Places(max(1, limit // self._workers))
        return self._places[provider]

    def _concurrency(self, settings: ConcurrencySettings, target: DeclaredTarget) -> ConcurrencySettings:
        """How many calls a target gets at once from this worker."""
        most = min(settings.limit, target.limits.concurrency or settings.limit)
        return replace(settings, limit=max(1, most // self._workers))

    def _limits(self, target: DeclaredTarget) -> VendorLimits | None:
        """The limits of a target, within those of its provider."""
        of_provider = self._document.providers[target.provider].limits
        provider = self._provider_limits.get(target.provider)
        if provider is None and _is_rated(of_provider):
            provider = VendorLimits(of_provider, self._workers, monotonic)
            self._provider_limits[target.provider] = provider
        if not _is_rated(target.limits):
            return provider
        return VendorLimits(target.limits, self._workers, monotonic, provider)


def _unchanged(document: Document, services: Mapping[str, Service], before: Snapshot | None) -> frozenset[str]:
    """The models that would be compiled into what they are already."""
    if before is None:
        return frozenset()
    known = before.document
    if document.resilience != known.resilience or document.money != known.money:
        return frozenset()
    same = {name for name, model in document.models.items() if known.models.get(name) is model}
    moved = {name for name, service in services.items() if before.services.get(name) is not service}
    if moved:
        same = {name for name in same if all(target.provider not in moved for target in document.models[name].targets)}
    return frozenset(same)


def _schema_models(document: Document) -> frozenset[str]:
    """The names of models that write by a JSON schema when they are asked to."""
    able = {name for name, model in document.models.items() if model.abilities.json_schema}
    return frozenset(able | {alias for alias, name in document.aliases.items() if name in able})


def _content_policies(apps: Mapping[str, AppSettings]) -> dict[str, ContentPolicy]:
    return {name: app.content for name, app in apps.items() if app.content is not None}


def _price(book: PriceBook, declared: ListedPrice | None, kind: str, vendor_model: str) -> Price:
    """What a use of a target costs, by the price that holds at that time."""

    def price(usage: Usage) -> Cost | None:
        found = book.price_of(declared, kind, vendor_model, int(time() * 1000))
        if found is None:
            return None
        return Cost(cost_micros(found, usage), found.currency, found.version, book.exchanges[found.currency])

    return price


def _missing(name: str, absent: list[Service]) -> AppError:
    """Why a model without targets cannot be asked."""
    reasons = " ".join(dict.fromkeys(service.missing for service in absent))
    return Misconfigured(f"The model {name} cannot be asked. {reasons}", reason="no_usable_target", param="model")


def _resilience(document: Document, model: DeclaredModel, target: DeclaredTarget | None = None) -> ResilienceSettings:
    settings = document.resilience
    for declared in (model, target):
        if declared is not None and declared.resilience:
            settings = overridden(settings, declared.resilience)
    return settings


def _is_rated(limits: Limits) -> bool:
    return limits.rpm is not None or limits.tpm is not None
