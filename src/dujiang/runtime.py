"""The composition root: opens what a worker needs, compiles the configuration into a snapshot, and owns both."""

from collections.abc import Callable, Mapping
from time import time

from msgspec import Struct

from dujiang.chat.dispatch import dispatch
from dujiang.chat.pipeline import compose, parse
from dujiang.chat.tasks import OpenCalls
from dujiang.config.settings import DeclaredModel, DeclaredTarget, Document
from dujiang.core.call import Caller, Rights
from dujiang.core.chat import Usage
from dujiang.core.errors import AppError, Misconfigured, NotBuilt
from dujiang.core.money import Cost, Price
from dujiang.core.protocols import Handler
from dujiang.core.settings import ContentPolicy
from dujiang.identity.authenticate import authenticate
from dujiang.identity.key_ring import KeyRing
from dujiang.identity.roles import RightsTable, compile_roles
from dujiang.identity.settings import AppSettings
from dujiang.identity.stage import admit, authorise
from dujiang.providers.clocks import Clocks
from dujiang.providers.local import Embedded
from dujiang.providers.service import Service
from dujiang.providers.services import open_services
from dujiang.records.journal import Journal
from dujiang.records.price_book import PriceBook, compile_prices
from dujiang.records.price_catalogue import bundled_catalogue
from dujiang.records.pricing import cost_micros
from dujiang.records.service import Records
from dujiang.records.stage import record
from dujiang.resilience.settings import TimeoutSettings, overridden
from dujiang.routing.catalog import Catalog, Model, Target
from dujiang.routing.stage import route
from dujiang.scenes.compiled import compile_scenes
from dujiang.scenes.stage import render
from dujiang.telemetry.metrics import JournalCounts, Metrics
from dujiang.telemetry.stage import observe

BODY_LIMIT_BYTES = 16 * 1024 * 1024


class Snapshot(Struct, frozen=True):
    """Everything compiled from one revision of the document. A call takes it once: never a mix of two revisions."""

    revision: int
    document: Document
    handler: Handler
    catalog: Catalog
    rights: RightsTable
    services: dict[str, Service]
    total_s: float


class Runtime:
    """What the edge works with: the current snapshot, the keys, the counters, and whether we are shutting down."""

    def __init__(
        self,
        snapshot: Snapshot,
        keys: KeyRing,
        metrics: Metrics,
        *,
        journal: Journal,
        records: Records,
        not_in_effect: tuple[str, ...] = (),
        has_open_metrics: bool = False,
        body_limit_bytes: int = BODY_LIMIT_BYTES,
    ) -> None:
        self.snapshot = snapshot
        self.metrics = metrics
        self.has_open_metrics = has_open_metrics
        self.started_at_s = int(time())
        self.journal = journal
        self.records = records
        self.calls = OpenCalls()
        self.is_draining = False
        self.database_state = "ok"
        self.body_limit_bytes = body_limit_bytes
        self.not_in_effect = not_in_effect
        self._keys = keys

    def authenticate(self, header: bytes | None) -> Caller:
        """Who holds the key of an `Authorization` header. Raises `Unauthenticated`."""
        return authenticate(self._keys, header)

    def replace_keys(self, keys: KeyRing) -> None:
        """From now on these keys are the valid ones."""
        self._keys = keys

    def rights(self, caller: Caller) -> Rights:
        return self.snapshot.rights.rights(caller, None)

    def replace_database_state(self, state: str) -> None:
        """`ok`, or what is wrong with the database. Looked at in the background: no request waits for a database."""
        self.database_state = state

    def journal_counts(self) -> JournalCounts:
        """What the metrics tell of the journal."""
        state = self.journal.state()
        return JournalCounts(state.appended, state.dropped, state.backlog.undrained_bytes)

    def close(self) -> None:
        for service in self.snapshot.services.values():
            service.close()
        self.journal.close()
        self.records.close()


def compile_snapshot(
    document: Document,
    *,
    revision: int,
    expand: Callable[[str], str],
    embedded: Mapping[str, Embedded],
    metrics: Metrics,
    journal: Journal,
) -> Snapshot:
    """Compile a document. Its services open no connection before the first call."""
    services = open_services(document.providers, expand, embedded)
    prices = {name: model.price for name, model in document.models.items()}
    book = compile_prices(prices, document.money, revision, bundled_catalogue())
    models = {name: _compile_model(name, model, document, services, book) for name, model in document.models.items()}
    catalog = Catalog(models, document.aliases, frozenset(document.routes))
    rights = compile_roles(document.roles, document.apps)
    stages = (
        observe(metrics),
        record(journal, document.records.content, _content_policies(document.apps)),
        parse(),
        admit(rights, "chat:call"),
        render(compile_scenes(document.scenes)),
        authorise(document.aliases),
        route(catalog),
    )
    handler = compose(stages, dispatch(models))
    total_s = max((_timeouts(document, model).total_s for model in document.models.values()), default=300.0)
    return Snapshot(revision, document, handler, catalog, rights, services, total_s)


def _content_policies(apps: Mapping[str, AppSettings]) -> dict[str, ContentPolicy]:
    return {name: app.content for name, app in apps.items() if app.content is not None}


def _compile_model(
    name: str, settings: DeclaredModel, document: Document, services: Mapping[str, Service], book: PriceBook
) -> Model:
    targets: list[Target] = []
    absent: list[Service] = []
    for target in settings.targets:
        service = services[target.provider]
        if service.missing:
            absent.append(service)
            continue
        timeouts = _timeouts(document, settings, target)
        clocks = Clocks(timeouts.connect_s, timeouts.total_s, timeouts.first_token_s, timeouts.idle_s)
        endpoints = service.endpoints(target.model, clocks)
        total_weight = sum(endpoint.weight for endpoint in endpoints)
        price = _price(book, name, document.providers[target.provider].kind, target.model)
        for endpoint in endpoints:
            weight = target.weight * endpoint.weight / total_weight
            label = f"{target.provider}/{target.model}"
            targets.append(Target(target.provider, label, endpoint.credential, weight, endpoint.open, price))
    return Model(name, settings.version, tuple(targets), _missing(name, absent))


def _price(book: PriceBook, model: str, kind: str, vendor_model: str) -> Price:
    """What a use of a target costs, by the price that holds at that time."""

    def price(usage: Usage) -> Cost | None:
        found = book.price_of(model, kind, vendor_model, int(time() * 1000))
        if found is None:
            return None
        return Cost(cost_micros(found, usage), found.currency, found.version, book.exchanges[found.currency])

    return price


def _missing(name: str, absent: list[Service]) -> AppError:
    """Why a model without targets cannot be asked."""
    reasons = " ".join(dict.fromkeys(service.missing for service in absent))
    message = f"The model {name} cannot be asked. {reasons}"
    if absent and all(service.is_unbuilt for service in absent):
        return NotBuilt(message, param="model")
    return Misconfigured(message, reason="no_usable_target", param="model")


def _timeouts(document: Document, model: DeclaredModel, target: DeclaredTarget | None = None) -> TimeoutSettings:
    settings = document.resilience
    for declared in (model, target):
        if declared is not None and declared.resilience:
            settings = overridden(settings, declared.resilience)
    return settings.timeouts
