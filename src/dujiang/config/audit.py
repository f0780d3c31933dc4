"""Who changed the configuration, and who tried in vain: paths and reasons, never values."""

from datetime import UTC, datetime

from msgspec import Struct
from sqlalchemy import delete, insert, select

from dujiang.config.tables import audit
from dujiang.core.ids import new_id
from dujiang.storage.database import Database

MAX_ROWS = 10_000
"""What is kept of each outcome, the newest: refused writers fill no disk, and push out nothing but each other."""

_DETAIL_CHARACTERS = 2_000


class AuditRow(Struct, frozen=True):
    """`outcome` is `applied` or `refused`."""

    id: str
    at: datetime
    author: str
    action: str
    outcome: str
    detail: str


class Audit:
    """Appends and reads. Every method blocks for a question to the database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, author: str, action: str, outcome: str, detail: str) -> None:
        row = {
            "id": new_id(),
            "at": datetime.now(UTC),
            "author": author,
            "action": action,
            "outcome": outcome,
            "detail": detail[:_DETAIL_CHARACTERS],
        }
        alike = audit.c.outcome == outcome
        newest = select(audit.c.id).where(alike).order_by(audit.c.id.desc())
        oldest_kept = newest.offset(MAX_ROWS - 1).limit(1).scalar_subquery()
        with self._database.write() as connection:
            connection.execute(insert(audit).values(row))
            connection.execute(delete(audit).where(alike, audit.c.id < oldest_kept))

    def list(self, before: str | None, limit: int) -> list[AuditRow]:
        """Rows, the newest first, from the one before `before` on."""
        wanted = select(audit).order_by(audit.c.id.desc()).limit(limit)
        if before is not None:
            wanted = wanted.where(audit.c.id < before)
        with self._database.read() as connection:
            return [AuditRow(**row) for row in connection.execute(wanted).mappings()]
