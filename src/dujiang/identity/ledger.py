"""The ledger: what was spent of each budget, by whom, in which window. Every call is in it once."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta

from msgspec import Struct
from sqlalchemy import ColumnElement, Connection, RowMapping, Table, and_, delete, func, insert, select, tuple_, update

from dujiang.core.errors import Unprocessable
from dujiang.core.ids import new_id
from dujiang.core.money import Charge
from dujiang.identity.accounts import Spent
from dujiang.identity.tables import claims, corrections, ledger
from dujiang.storage.audit import Deed, note
from dujiang.storage.database import Database, answering

KEPT_DAYS = 400
"""How long an account is kept that nothing was charged to: every month of a year can be looked at."""

CLAIM_DAYS = 30
"""How long a record is remembered as charged; the journal repeats a batch within seconds, or at the next start."""

MAX_MICROS = 10**18
"""What an account may come to by corrections: the largest budget, of which nine fit in a column."""

_CHUNK = 500

AccountId = tuple[str, int, str]
"""A budget's id, a window's beginning, a subject."""


class Crossing(Struct, frozen=True):
    """A charge took an account past what its budget wants to be warned at (`soft`), or past all of it (`spent`)."""

    kind: str
    charge: Charge
    spent_micros: int


class Entry(Struct, frozen=True):
    """An account of the ledger."""

    budget_id: str
    window_start_s: int
    subject: str
    currency: str
    spent_micros: int


class Correction(Struct, frozen=True):
    """An amount that somebody added, with their reason."""

    id: str
    budget_id: str
    window_start_s: int
    subject: str
    amount_micros: int
    reason: str
    author: str
    created_at: datetime


class Ledger:
    """One database's. Every method blocks for a transaction, and raises `DatabaseAway`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def spent(self, budget_id: str, subject: str, window_start_s: int) -> Spent:
        """What is spent of an account, and the corrections that are part of it."""
        account = (budget_id, window_start_s, subject)
        with answering(), self._database.read() as connection:
            micros = connection.execute(select(ledger.c.spent_micros).where(_is(ledger, account))).scalar()
            ids = connection.execute(select(corrections.c.id).where(_is(corrections, account))).scalars().all()
        return Spent(micros or 0, tuple(ids))

    def sums(self, windows: Iterable[tuple[str, int]]) -> dict[tuple[str, int], tuple[int, int]]:
        """What all subjects together spent, by (budget, beginning of a window), and how many they are."""
        asked = list(windows)
        key = (ledger.c.budget_id, ledger.c.window_start)
        found: dict[tuple[str, int], tuple[int, int]] = {}
        with answering(), self._database.read() as connection:
            for start in range(0, len(asked), _CHUNK):
                sums = select(*key, func.sum(ledger.c.spent_micros), func.count()).group_by(*key)
                for id, begin, micros, subjects in connection.execute(
                    sums.where(tuple_(*key).in_(asked[start : start + _CHUNK]))
                ):
                    found[id, begin] = (int(micros), subjects)
        return found

    def entries(self, accounts: Iterable[tuple[str, int]], limit: int | None = None) -> list[Entry]:
        """The accounts of some budgets in some windows, by (budget, beginning); who spent most comes first."""
        wanted = tuple_(ledger.c.budget_id, ledger.c.window_start).in_(list(accounts))
        statement = select(ledger).where(wanted).order_by(ledger.c.spent_micros.desc(), ledger.c.subject).limit(limit)
        with answering(), self._database.read() as connection:
            return [
                Entry(row.budget_id, row.window_start, row.subject, row.currency, row.spent_micros)
                for row in connection.execute(statement)
            ]

    def charge(self, records: Sequence[tuple[bytes, Sequence[Charge]]]) -> list[Crossing]:
        """Enter the charges of records, by id. A record that was entered before is passed over."""
        with answering(), self._database.write() as connection:
            fresh = _claim(connection, dict(records))
            sums: dict[AccountId, tuple[Charge, int]] = {}
            for charge in (charge for id in fresh for charge in fresh[id]):
                account = (charge.budget_id, charge.window_start_s, charge.subject)
                sums[account] = (charge, sums.get(account, (charge, 0))[1] + charge.amount_micros)
            crossings: list[Crossing] = []
            for account, (charge, micros) in sorted(sums.items()):
                after = _add(connection, account, charge.currency, micros)
                crossings += _crossings(charge, after - micros, after)
        return crossings

    def correct(self, account: AccountId, currency: str, amount_micros: int, *, reason: str, author: str) -> Correction:
        """Add an amount, which may be negative, to what is spent of an account, and tell the audit of it.

        Raises `Unprocessable` where that comes to more than anybody can have.
        """
        budget_id, window_start_s, subject = account
        made = Correction(
            new_id(), budget_id, window_start_s, subject, amount_micros, reason, author, datetime.now(UTC)
        )
        with answering(), self._database.write() as connection:
            connection.execute(
                insert(corrections).values(
                    id=made.id,
                    budget_id=budget_id,
                    window_start=window_start_s,
                    subject=subject,
                    amount_micros=amount_micros,
                    reason=reason,
                    author=author,
                    created_at=made.created_at,
                )
            )
            if abs(_add(connection, account, currency, amount_micros)) > MAX_MICROS:
                raise Unprocessable("That is more than can be spent.", reason="too_much", param="amount")
            told = {"subject": subject, "window_start": window_start_s, "currency": currency, "micros": amount_micros}
            note(connection, Deed(author, "correct", f"budgets.{budget_id}", detail=reason, after=told))
        return made

    def corrections(self, budget_id: str, window_start_s: int, limit: int | None = None) -> list[Correction]:
        """The corrections of a budget in one window, the newest first."""
        wanted = (corrections.c.budget_id == budget_id) & (corrections.c.window_start == window_start_s)
        with answering(), self._database.read() as connection:
            rows = connection.execute(select(corrections).where(wanted).order_by(corrections.c.id.desc()).limit(limit))
            return [_correction_of(row) for row in rows.mappings()]

    def corrections_since(self, id: str) -> list[Correction]:
        """The corrections that were made after one, the oldest first. Ids tell the order."""
        with answering(), self._database.read() as connection:
            rows = connection.execute(select(corrections).where(corrections.c.id > id).order_by(corrections.c.id))
            return [_correction_of(row) for row in rows.mappings()]

    def forget(self, now: datetime) -> None:
        """Drop the claims and the accounts of windows that nothing was charged to for long."""
        with answering(), self._database.write() as connection:
            connection.execute(delete(claims).where(claims.c.claimed_at < now - timedelta(days=CLAIM_DAYS)))
            is_old = ledger.c.changed_at < now - timedelta(days=KEPT_DAYS)
            connection.execute(delete(ledger).where(is_old, ledger.c.window_start > 0))


def _claim(connection: Connection, records: Mapping[bytes, Sequence[Charge]]) -> dict[bytes, Sequence[Charge]]:
    """The records that are not charged yet, which are remembered as charged from now on."""
    ids = list(records)
    known: set[bytes] = set()
    for start in range(0, len(ids), _CHUNK):
        some = claims.c.record_id.in_(ids[start : start + _CHUNK])
        known |= set(connection.execute(select(claims.c.record_id).where(some)).scalars())
    fresh = {id: charges for id, charges in records.items() if id not in known}
    if fresh:
        now = datetime.now(UTC)
        connection.execute(insert(claims), [{"record_id": id, "claimed_at": now} for id in fresh])
    return fresh


def _add(connection: Connection, account: AccountId, currency: str, micros: int) -> int:
    """What is spent of an account after adding to it. Nobody else writes meanwhile."""
    now = datetime.now(UTC)
    known = connection.execute(select(ledger.c.spent_micros).where(_is(ledger, account))).scalar()
    if known is None:
        budget_id, window_start, subject = account
        row = {"budget_id": budget_id, "window_start": window_start, "subject": subject, "currency": currency}
        connection.execute(insert(ledger).values(**row, spent_micros=micros, changed_at=now))
        return micros
    spent = known + micros
    connection.execute(update(ledger).where(_is(ledger, account)).values(spent_micros=spent, changed_at=now))
    return spent


def _crossings(charge: Charge, before: int, after: int) -> list[Crossing]:
    marks = [("soft", charge.soft_micros), ("spent", charge.limit_micros)]
    return [Crossing(kind, charge, after) for kind, mark in marks if mark is not None and before < mark <= after]


def _is(table: Table, account: AccountId) -> ColumnElement[bool]:
    budget_id, window_start, subject = account
    return and_(table.c.budget_id == budget_id, table.c.window_start == window_start, table.c.subject == subject)


def _correction_of(row: RowMapping) -> Correction:
    return Correction(
        row["id"],
        row["budget_id"],
        row["window_start"],
        row["subject"],
        row["amount_micros"],
        row["reason"],
        row["author"],
        row["created_at"],
    )
