"""Compiling the models of a document, those alone that are not the same as before."""

from collections.abc import Mapping
from functools import partial
from random import random
from time import monotonic, time
from typing import Protocol

from msgspec.structs import replace

from dujiang.config.settings import DeclaredModel, DeclaredTarget, Document
from dujiang.core.chat import Usage
from dujiang.core.errors import AppError, Misconfigured
from dujiang.core.money import Cost, Price
from dujiang.core.settings import Limits
from dujiang.providers.clocks import Clocks
from dujiang.providers.service import Endpoint, Service
from dujiang.records.price_book import PriceBook, declared_price, open_book
from dujiang.records.price_catalogue import bundled_catalogue
from dujiang.records.pricing import Price as ListedPrice
from dujiang.records.pricing import cost_micros
from dujiang.resilience.balancer import compile_balancers
from dujiang.resilience.events import Fleet, tell_of_credential
from dujiang.resilience.model import Model
from dujiang.resilience.parking import Parking
from dujiang.resilience.retry_budget import RetryBudget
from dujiang.resilience.settings import ConcurrencySettings, ResilienceSettings, overridden
from dujiang.resilience.target import Door, Load, Place, Target, Upstream
from dujiang.resilience.vendor_limits import VendorLimits


class Compiled(Protocol):
    """What was compiled of the revision before."""

    @property
    def document(self) -> Document: ...

    @property
    def services(self) -> Mapping[str, Service]: ...

    @property
    def models(self) -> Mapping[str, Model]: ...


class ModelCompiler:
    """Compiles for one process of `fleet`. What was learnt of a target, of its credential and of its provider is taken
    over from `before`.
    """

    def __init__(
        self,
        document: Document,
        revision: int,
        services: Mapping[str, Service],
        before: Compiled | None,
        fleet: Fleet,
    ) -> None:
        self._document = document
        self._revision = revision
        self._services = services
        self._before = before
        self._workers, self._herald = fleet
        self._book = open_book(document.money, bundled_catalogue())
        self._parkings: dict[tuple[str, str], Parking] = {}
        self._upstreams: dict[str, Upstream] = {}

    def compile(self) -> dict[str, Model]:
        """Every model by its name."""
        known: Mapping[str, Model] = self._before.models if self._before is not None else {}
        unchanged = _unchanged(self._document, self._services, self._before)
        self._take_over(known)
        return {
            name: known[name] if name in unchanged else self._model(name, settings, known.get(name))
            for name, settings in self._document.models.items()
        }

    def _take_over(self, known: Mapping[str, Model]) -> None:
        """Find what providers and credentials that are still the same have in common with others."""
        if self._before is None:
            return
        providers, services = self._before.document.providers, self._before.services
        for target in (target for model in known.values() for target in model.targets):
            name = target.provider
            declared = self._document.providers.get(name)
            if declared is None:
                continue
            if declared.limits == providers[name].limits:
                self._upstreams[name] = target.upstream
            if services.get(name) is self._services[name]:
                self._parkings[name, target.credential] = target.parking

    def _model(self, name: str, declared: DeclaredModel, before: Model | None) -> Model:
        learnt = {(each.name, each.credential): each for each in before.targets} if before is not None else {}
        price = declared_price(declared.price, self._revision) if declared.price is not None else None
        targets: list[Target] = []
        absent: list[Service] = []
        for target in declared.targets:
            service = self._services[target.provider]
            if service.missing:
                absent.append(service)
            else:
                targets += self._targets(name, declared, target, price, learnt)
        settings = _resilience(self._document, declared)
        return Model(
            name,
            declared.version,
            tuple(targets),
            _missing(name, absent),
            settings,
            before.retries if before is not None else RetryBudget(settings.retry.budget_ratio, monotonic),
            compile_balancers(settings.balancing, targets, monotonic, random),
            before.gate if before is not None else None,
        )

    def _targets(
        self,
        name: str,
        model: DeclaredModel,
        declared: DeclaredTarget,
        price: ListedPrice | None,
        learnt: Mapping[tuple[str, str], Target],
    ) -> list[Target]:
        """A target for each credential of the provider."""
        settings = _resilience(self._document, model, declared)
        settings = replace(settings, concurrency=self._share(settings, declared.limits))
        timeouts = settings.timeouts
        clocks = Clocks(
            timeouts.connect_s, timeouts.total_s, timeouts.first_token_s, timeouts.idle_s, timeouts.min_tokens_per_s
        )
        endpoints = self._services[declared.provider].endpoints(declared.model, clocks)
        total_weight = sum(endpoint.weight for endpoint in endpoints)
        provider = self._document.providers[declared.provider]
        price_of = _price(self._book, price, provider.kind, declared.model)
        label = f"{declared.provider}/{declared.model}"
        upstream = self._upstream(declared.provider)
        found: list[Target] = []
        for endpoint in endpoints:
            place = Place(declared.provider, label, endpoint.credential)
            before = learnt.get((label, endpoint.credential))
            found.append(
                Target(
                    place,
                    declared.weight * endpoint.weight / total_weight,
                    Door(endpoint.open, endpoint.probe),
                    before.load if before is not None else self._load(name, place, settings),
                    self._parking(declared.provider, endpoint),
                    upstream,
                    self._limits(declared.limits, upstream, before),
                    settings,
                    price_of,
                )
            )
        return found

    def _share(self, settings: ResilienceSettings, limits: Limits) -> ConcurrencySettings:
        """How many calls a target gets at once from this process."""
        concurrency = settings.concurrency
        most = min(concurrency.limit, limits.concurrency or concurrency.limit)
        return replace(concurrency, limit=max(1, most // self._workers))

    def _load(self, model: str, place: Place, settings: ResilienceSettings) -> Load:
        return Load(settings, monotonic, random, partial(self._herald.tell, model, place))

    def _parking(self, provider: str, endpoint: Endpoint) -> Parking:
        """What is known of a credential."""
        known = self._parkings.get((provider, endpoint.credential))
        if known is None:
            tell = partial(tell_of_credential, self._herald, Place(provider, "", endpoint.credential))
            known = self._parkings[provider, endpoint.credential] = Parking(monotonic, random, on_change=tell)
        return known

    def _upstream(self, name: str) -> Upstream:
        """What the targets of a provider have in common."""
        known = self._upstreams.get(name)
        if known is None:
            limits = self._document.providers[name].limits
            places = None if limits.concurrency is None else max(1, limits.concurrency // self._workers)
            rates = VendorLimits(limits, self._workers, monotonic) if _is_rated(limits) else None
            known = self._upstreams[name] = Upstream(places, rates)
        return known

    def _limits(self, declared: Limits, upstream: Upstream, before: Target | None) -> VendorLimits | None:
        """The vendor's limits of a target, within those of its provider."""
        if not _is_rated(declared):
            return upstream.limits
        known = before.limits if before is not None and before.upstream is upstream else None
        if known is not None and known.declared == declared:
            return known
        return VendorLimits(declared, self._workers, monotonic, upstream.limits)


def _unchanged(document: Document, services: Mapping[str, Service], before: Compiled | None) -> frozenset[str]:
    """The models that would be compiled into what they are already."""
    if before is None:
        return frozenset()
    known = before.document
    if document.resilience != known.resilience or document.money != known.money:
        return frozenset()
    moved = {
        name
        for name, service in services.items()
        if before.services.get(name) is not service or document.providers[name].limits != known.providers[name].limits
    }
    return frozenset(
        name
        for name, model in document.models.items()
        if known.models.get(name) is model and all(target.provider not in moved for target in model.targets)
    )


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
