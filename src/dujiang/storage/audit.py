"""Who changed what, and who tried in vain: beside the change, in its own transaction."""

from datetime import UTC, datetime
from typing import Any, Literal

import msgspec
from msgspec import Struct
from sqlalchemy import Connection, Row, delete, insert, select

from dujiang.core.ids import new_id
from dujiang.storage.database import Database
from dujiang.storage.tables import audit

MAX_ROWS = 10_000
"""What is kept of each outcome, the newest: refused writers fill no disk, and push out nothing but each other."""

_DETAIL_CHARACTERS = 2_000
_SHOWN_CHARACTERS = 20_000

Outcome = Literal["applied", "refused"]


class Deed(Struct, frozen=True):
    """What somebody did or tried. `subject` is what it was done to, like `keys.ID`; `before` and `after` are how that
    stood, as plain values without secrets, None where it was not there or is not told.
    """

    author: str
    action: str
    subject: str
    outcome: Outcome = "applied"
    detail: str = ""
    before: Any = None
    after: Any = None


class AuditRow(Struct, frozen=True):
    """A deed and its moment."""

    id: str
    at: datetime
    author: str
    action: str
    subject: str
    outcome: str
    detail: str
    before: Any
    after: Any


def note(connection: Connection, deed: Deed) -> None:
    """Append a row to the audit, in the transaction of what it tells of."""
    row = {
        "id": new_id(),
        "at": datetime.now(UTC),
        "author": deed.author[:200],
        "action": deed.action,
        "subject": deed.subject[:300],
        "outcome": deed.outcome,
        "detail": deed.detail[:_DETAIL_CHARACTERS],
        "before": _text(deed.before),
        "after": _text(deed.after),
    }
    alike = audit.c.outcome == deed.outcome
    newest = select(audit.c.id).where(alike).order_by(audit.c.id.desc())
    oldest_kept = newest.offset(MAX_ROWS - 1).limit(1).scalar_subquery()
    connection.execute(insert(audit).values(row))
    connection.execute(delete(audit).where(alike, audit.c.id < oldest_kept))


class Audit:
    """Appends and reads. Every method blocks for a question to the database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, deed: Deed) -> None:
        with self._database.write() as connection:
            note(connection, deed)

    def list(self, before: str | None, limit: int) -> list[AuditRow]:
        """Rows, the newest first, from the one before `before` on."""
        wanted = select(audit).order_by(audit.c.id.desc()).limit(limit)
        if before is not None:
            wanted = wanted.where(audit.c.id < before)
        with self._database.read() as connection:
            return [_row(row) for row in connection.execute(wanted)]


def _row(row: Row[Any]) -> AuditRow:
    return AuditRow(
        id=row.id,
        at=row.at,
        author=row.author,
        action=row.action,
        subject=row.subject,
        outcome=row.outcome,
        detail=row.detail,
        before=_value(row.before),
        after=_value(row.after),
    )


def _value(text: str | None) -> Any:
    return None if text is None else msgspec.json.decode(text)


def _text(value: Any) -> str | None:
    """JSON; None for what is too large to be told here."""
    if value is None:
        return None
    text = msgspec.json.encode(value).decode()
    return text if len(text) <= _SHOWN_CHARACTERS else None
