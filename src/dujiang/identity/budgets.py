"""Which budgets a call draws on."""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from decimal import ROUND_CEILING, Decimal
from time import time
from typing import Literal
from zoneinfo import ZoneInfo

from msgspec import Struct

from dujiang.core.call import Caller, ClaimedUser, Rights
from dujiang.core.money import Cost
from dujiang.core.settings import Budget
from dujiang.identity.counters import Roles
from dujiang.identity.settings import AppSettings, BudgetSettings
from dujiang.identity.users import User, Users
from dujiang.identity.windows import Window, window_at
from dujiang.storage.store import Account

MAX_REMEMBERED = 4096


class Purse(Struct, eq=False):
    """A compiled budget, of one subject or of each that a pattern means.

    `rate` is what a unit of its currency is worth in the currency of account, None where that is not known.
    `takes_unpriced`: it pays, with nothing, for what has no known price.
    """

    id: str
    limit_micros: int
    soft_micros: int | None
    terms: Budget
    rate: Decimal | None
    zone: ZoneInfo
    window: Window
    takes_unpriced: bool

    def window_now(self, now_s: float) -> Window:
        """The window that is running, remembered until it ends."""
        if not self.window.start_s <= now_s < self.window.end_s:
            self.window = window_at(now_s, self.terms.per, self.zone)
        return self.window

    def in_its_currency(self, cost: Cost) -> int | None:
        """An amount in millionths of this budget's currency, rounded up; None where no rate leads from one to the
        other.
        """
        if cost.currency == self.terms.currency:
            return cost.amount_micros
        if self.rate is None:
            return None
        worth = cost.amount_micros * Decimal(cost.exchange.rate) / self.rate
        return int(worth.quantize(Decimal(1), ROUND_CEILING))


class Due(Struct, frozen=True):
    """A budget that a call draws on, as whom."""

    purse: Purse
    subject: str

    def account(self, window: Window) -> Account:
        return Account(account_key(self.purse.id, self.subject, window.start_s), self.purse.limit_micros)


class Listed(Struct, frozen=True):
    """A budget as people look at it: where it is written, and whose it is; `subject` may be a pattern."""

    source: Literal["document", "app", "key", "user"]
    subject: str
    purse: Purse

    @property
    def id(self) -> str:
        return self.purse.id

    @property
    def is_pattern(self) -> bool:
        """Whether each of several subjects may spend that much."""
        return self.subject.endswith(("*", "/*"))


class Budgets:
    """The budgets of one snapshot.

    Of the budgets of a kind of subject, those for exactly this one take the place of those for all of its app, and
    these of those for all. A budget of its own that an app, a key or a user has counts beside them.
    """

    def __init__(
        self,
        declared: Sequence[BudgetSettings],
        apps: Mapping[str, AppSettings],
        rates: Mapping[str, Decimal],
        zone: str,
        users: Users,
        *,
        takes_unpriced: bool = True,
        clock: Callable[[], float] = time,
    ) -> None:
        """`rates` has what a unit of each currency is worth, that of account (1) included; `zone` is for budgets that
        name none.
        """
        self._rates = rates
        self._takes_unpriced = takes_unpriced
        self._zone = zone
        self._clock = clock
        self._declared: dict[str, list[Purse]] = {}
        for budget in declared:
            purse = self._purse(budget_id("declared", budget.subject, budget), budget)
            self._declared.setdefault(budget.subject, []).append(purse)
        self._of_apps = {
            name: self._purse(budget_id("own", f"app:{name}", app.budget), app.budget)
            for name, app in apps.items()
            if app.budget is not None
        }
        self._users = users
        self._of_users: dict[tuple[str, str], tuple[Budget, Due]] = {}
        self._own: dict[Caller, Due | None] = {}
        self._remembered: dict[tuple[Caller, Roles], tuple[Due, ...]] = {}
        self._has_user_budgets = any(subject.startswith("user:") for subject in self._declared)

    def of(self, caller: Caller, rights: Rights, user: ClaimedUser) -> tuple[Due, ...]:
        """The budgets of a call of one kind. Of its rights only the roles matter: those that let it be made."""
        question = (caller, rights.roles)
        dues = self._remembered.get(question)
        if dues is None:
            if len(self._remembered) >= MAX_REMEMBERED:
                self._remembered.clear()
                self._own.clear()
            dues = self._remembered[question] = tuple(self._shared(caller, rights))
        if user.user_id is not None and (self._has_user_budgets or self._users.known):
            return (*dues, *self._of_user(caller.app, user.user_id))
        return dues

    def listed(self, callers: Iterable[Caller]) -> Iterator[Listed]:
        """Every budget, those of `callers` too: of the document, of apps, of keys, of users, in this order."""
        for subject, purses in self._declared.items():
            yield from (Listed("document", subject, purse) for purse in purses)
        for name, purse in self._of_apps.items():
            yield Listed("app", f"app:{name}", purse)
        for caller in callers:
            own = self.of_key(caller) if caller.budget is not None else None
            if own is not None:
                yield Listed("key", own.subject, own.purse)
        for user in self._users:
            own = self.of_user(user)
            if own is not None:
                yield Listed("user", own.subject, own.purse)

    def declared(self, subject: str) -> tuple[Purse, ...]:
        """The compiled budgets of a subject or pattern as the document writes it."""
        return tuple(self._declared.get(subject, ()))

    def of_app(self, name: str) -> Purse | None:
        """An app's own budget."""
        return self._of_apps.get(name)

    def of_key(self, caller: Caller) -> Due | None:
        """A key's own budget."""
        if caller not in self._own:
            budget = caller.budget
            self._own[caller] = self._own_due(f"key:{caller.key_id}", budget) if budget is not None else None
        return self._own[caller]

    def _shared(self, caller: Caller, rights: Rights) -> Iterator[Due]:
        for key in (caller, *caller.lineage):
            own = self.of_key(key)
            if own is not None:
                yield own
        yield from self._most_specific(f"key:{caller.key_id}", "key:*")
        of_app = self._of_apps.get(caller.app)
        if of_app is not None:
            yield Due(of_app, f"app:{caller.app}")
        yield from self._most_specific(f"app:{caller.app}", "app:*")
        for role in sorted(frozenset[str](caller.roles).union(*rights.roles)):
            yield from self._most_specific(f"role:{role}", "role:*")

    def of_user(self, user: User) -> Due | None:
        """A user's own budget."""
        if user.budget is None:
            return None
        known = self._of_users.get((user.app, user.id))
        if known is None or known[0] is not user.budget:
            if len(self._of_users) >= MAX_REMEMBERED:
                self._of_users.clear()
            known = (user.budget, self._own_due(f"user:{user.app}/{user.id}", user.budget))
            self._of_users[user.app, user.id] = known
        return known[1]

    def _of_user(self, app: str, user_id: str) -> Iterator[Due]:
        user = self._users.find(app, user_id)
        own = self.of_user(user) if user is not None else None
        if own is not None:
            yield own
        yield from self._most_specific(f"user:{app}/{user_id}", f"user:{app}/*", "user:*")

    def _most_specific(self, subject: str, *patterns: str) -> Iterator[Due]:
        for each in (subject, *patterns):
            if each in self._declared:
                return (Due(purse, subject) for purse in self._declared[each])
        return iter(())

    def _own_due(self, subject: str, budget: Budget) -> Due:
        return Due(self._purse(budget_id("own", subject, budget), budget), subject)

    def _purse(self, id: str, terms: Budget) -> Purse:
        limit_micros = int(terms.amount * 1_000_000)
        soft_micros = int(limit_micros * terms.soft_ratio) if terms.soft_ratio is not None else None
        zone = ZoneInfo(terms.timezone or self._zone)
        window = window_at(self._clock(), terms.per, zone)
        rate = self._rates.get(terms.currency)
        return Purse(id, limit_micros, soft_micros, terms, rate, zone, window, self._takes_unpriced)


def budget_id(source: str, subject: str, terms: Budget) -> str:
    """The same for the same subject, currency and period, whatever else changes: so that what is spent stays spent."""
    text = f"{source}|{subject}|{terms.currency}|{terms.per}"
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def account_key(budget_id: str, subject: str, window_start_s: int) -> str:
    """The name of an account in the store."""
    return f"{budget_id}|{window_start_s}|{subject}"
