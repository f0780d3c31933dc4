"""Budgets as people see and write them. Amounts are numbers in the budget's own currency."""

from datetime import UTC, datetime
from decimal import Decimal
from math import inf
from typing import Annotated, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, StrictFloat, StrictInt, StrictStr

from dujiang.core.call import Caller, ClaimedUser
from dujiang.identity.budgets import Listed
from dujiang.identity.ledger import Correction
from dujiang.identity.standings import AccountStanding, Standing
from dujiang.identity.windows import Period, Window
from dujiang.runtime import Runtime

Amount = StrictInt | StrictFloat | StrictStr
"""As the document takes it, which judges it."""

Then = Literal["refuse", "cheapest"]
Share = Annotated[float, Field(ge=0, le=1)]


class NewBudget(BaseModel):
    """`subject` is `app:A`, `key:ID`, `role:R` or `user:A/ID`, or one of them with `*`."""

    model_config = ConfigDict(extra="forbid")

    subject: str
    amount: Amount
    currency: str
    per: Period
    soft_ratio: Share | None = None
    then: Then | None = None
    timezone: str | None = None


class BudgetPatch(BaseModel):
    """What may change of a budget: `null` puts a value back to its default."""

    model_config = ConfigDict(extra="forbid")

    amount: Amount | None = None
    soft_ratio: Share | None = None
    then: Then | None = None
    timezone: str | None = None


class NewCorrection(BaseModel):
    """`amount` counts as spent; a negative one gives money back. `subject` is needed where the budget has a pattern.
    Without `window_start` it is for the window that is running.
    """

    model_config = ConfigDict(extra="forbid")

    amount: Annotated[Decimal, Field(ge=-(10**12), le=10**12)]
    reason: Annotated[str, Field(min_length=1, max_length=1000, pattern=r"\S")]
    subject: str | None = None
    window_start: AwareDatetime | None = None


class BudgetItem(BaseModel):
    """`limit` is what each subject may spend in a window. Of a pattern, `spent` is that of all `subjects` that spent,
    and `reserved` is null.
    """

    id: str
    source: Literal["document", "app", "key", "user"]
    subject: str
    amount: float
    currency: str
    per: Period
    soft_ratio: float | None
    then: Then
    timezone: str
    limit: float
    spent: float
    reserved: float | None
    window_start: str | None
    window_end: str | None
    subjects: int


class BudgetList(BaseModel):
    items: list[BudgetItem]
    next_cursor: str | None


class AccountItem(BaseModel):
    subject: str
    spent: float
    reserved: float
    window_start: str | None


class CorrectionItem(BaseModel):
    id: str
    budget_id: str
    subject: str
    window_start: str | None
    amount: float
    currency: str
    reason: str
    author: str
    created_at: str


class BudgetDetail(BudgetItem):
    """`accounts` are those of the running window who spent most, `corrections` those of the running window."""

    accounts: list[AccountItem]
    corrections: list[CorrectionItem]


class OwnBudget(BaseModel):
    """A budget that calls of a key draw on, and how it stands."""

    id: str
    subject: str
    limit: float
    currency: str
    per: Period
    spent: float
    reserved: float
    window_start: str | None


async def budgets_of(runtime: Runtime, caller: Caller) -> list[OwnBudget]:
    """The budgets that the calls of a key draw on, those of users apart. Raises `DatabaseAway`."""
    dues = runtime.snapshot.budgets.of(caller, runtime.rights(caller), ClaimedUser())
    standings = await runtime.standings.of_dues(dues)
    return [
        OwnBudget(
            id=due.purse.id,
            subject=due.subject,
            limit=float(due.purse.terms.amount),
            currency=due.purse.terms.currency,
            per=due.purse.terms.per,
            spent=units(standing.balance.spent_micros),
            reserved=units(standing.balance.reserved_micros),
            window_start=start_of(standing.window.start_s),
        )
        for due, standing in zip(dues, standings, strict=True)
    ]


def budget_item(listed: Listed, standing: Standing) -> BudgetItem:
    purse, window = listed.purse, standing.window
    terms = purse.terms
    return BudgetItem(
        id=listed.id,
        source=listed.source,
        subject=listed.subject,
        amount=float(terms.amount),
        currency=terms.currency,
        per=terms.per,
        soft_ratio=terms.soft_ratio,
        then=terms.then,
        timezone=purse.zone.key,
        limit=float(terms.amount),
        spent=units(standing.spent_micros),
        reserved=None if standing.reserved_micros is None else units(standing.reserved_micros),
        window_start=start_of(window.start_s),
        window_end=end_of(window),
        subjects=standing.subjects,
    )


def account_item(account: AccountStanding) -> AccountItem:
    return AccountItem(
        subject=account.subject,
        spent=units(account.balance.spent_micros),
        reserved=units(account.balance.reserved_micros),
        window_start=start_of(account.window.start_s),
    )


def correction_item(correction: Correction, currency: str) -> CorrectionItem:
    return CorrectionItem(
        id=correction.id,
        budget_id=correction.budget_id,
        subject=correction.subject,
        window_start=start_of(correction.window_start_s),
        amount=units(correction.amount_micros),
        currency=currency,
        reason=correction.reason,
        author=correction.author,
        created_at=_iso(correction.created_at),
    )


def units(micros: int) -> float:
    """Millionths of a currency as the currency."""
    return micros / 1_000_000


def start_of(start_s: int) -> str | None:
    """When a window began; None for a budget without windows."""
    return None if start_s == 0 else _iso(datetime.fromtimestamp(start_s, UTC))


def end_of(window: Window) -> str | None:
    return None if window.end_s == inf else _iso(datetime.fromtimestamp(window.end_s, UTC))


def _iso(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
