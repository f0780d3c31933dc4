"""The revisions of the configuration in the database: appended, read, compared, and never changed."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec
from msgspec import Struct
from sqlalchemy import Connection, Select, and_, func, insert, select
from sqlalchemy.exc import IntegrityError

from dujiang.config.entries import Entry, Key, Tree, join
from dujiang.config.tables import changes, entries, revisions
from dujiang.core.errors import Conflict, NotFound
from dujiang.storage.audit import Deed, note
from dujiang.storage.database import Database

NO_REVISION = 0
"""The head of an empty history."""

_LOOKED_UP = 500
"""Digests in one question."""


class StaleRevision(Conflict):
    """Somebody else was faster. `current` is the newest revision."""

    code = "stale_revision"

    def __init__(self, current: int) -> None:
        super().__init__(
            f"The configuration is at revision {current} by now: read it, and make your change again.",
            reason="stale_revision",
            param="If-Match",
        )
        self.current = current

    def details(self) -> dict[str, Any]:
        return {"current": self.current}


class Revision(Struct, frozen=True):
    """What a revision says of itself."""

    revision: int
    author: str
    created_at: datetime
    comment: str


class Change(Struct, frozen=True):
    """What happens to a key. `entry` is None where it goes away."""

    key: Key
    entry: Entry | None


class History:
    """Reads and appends revisions. Every method blocks for a question to the database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def head(self) -> int:
        """The number of the newest revision, `NO_REVISION` where there is none."""
        with self._database.read() as connection:
            return _head(connection)

    def append(self, parent: int, made: Sequence[Change], deed: Deed, comment: str) -> int:
        """The number of the new revision, all of which is stored when this returns, with what the audit tells of it.

        Raises `StaleRevision` unless `parent` is the newest.
        """
        number = parent + 1
        row = {"number": number, "author": deed.author, "created_at": datetime.now(UTC), "comment": comment}
        try:
            with self._database.write() as connection:
                if _head(connection) != parent:
                    raise StaleRevision(_head(connection))
                connection.execute(insert(revisions).values(row))
                _store(connection, number, made)
                note(connection, deed)
        except IntegrityError:
            raise StaleRevision(self.head()) from None
        return number

    def digests(self, revision: int) -> dict[Key, bytes]:
        """The keys of a revision, in the order in which they came, with what each holds; an empty history has none.

        Raises `NotFound`.
        """
        with self._database.read() as connection:
            if revision != NO_REVISION:
                _require(connection, revision)
            rows = connection.execute(_state_of(revision)).all()
        return {(row.section, row.name): row.digest for row in rows if row.digest is not None}

    def changed(self, after: int, until: int) -> dict[Key, bytes | None]:
        """What the revisions after one, up to another, left under the keys that they changed: None where they went."""
        rows = (
            select(changes.c.section, changes.c.name, changes.c.digest)
            .where(changes.c.revision > after, changes.c.revision <= until)
            .order_by(changes.c.revision, changes.c.position)
        )
        with self._database.read() as connection:
            return {(row.section, row.name): row.digest for row in connection.execute(rows)}

    def parts(self, digests: Iterable[bytes]) -> dict[bytes, Any]:
        """What entries hold, by digest."""
        wanted = list(dict.fromkeys(digests))
        found: dict[bytes, Any] = {}
        with self._database.read() as connection:
            for n in range(0, len(wanted), _LOOKED_UP):
                some = select(entries.c.digest, entries.c.text).where(entries.c.digest.in_(wanted[n : n + _LOOKED_UP]))
                found |= {row.digest: msgspec.json.decode(row.text) for row in connection.execute(some)}
        return found

    def tree(self, revision: int) -> Tree:
        """The whole document of a revision. Raises `NotFound`."""
        digests = self.digests(revision)
        parts = self.parts(digests.values())
        return join({key: parts[digest] for key, digest in digests.items()})

    def changes_of(self, key: Key, limit: int) -> list[tuple[Revision, bytes | None]]:
        """The revisions that changed what a key holds, the newest first, with what it held from then on."""
        section, name = key
        wanted = (
            select(revisions, changes.c.digest)
            .join(changes, changes.c.revision == revisions.c.number)
            .where(changes.c.section == section, changes.c.name == name)
            .order_by(revisions.c.number.desc())
            .limit(limit)
        )
        with self._database.read() as connection:
            return [(_revision(row), row.digest) for row in connection.execute(wanted)]

    def held_by(self, key: Key, limit: int) -> list[tuple[Revision, Any]]:
        """As `changes_of`, with what each digest stands for; None where the key went away."""
        found = self.changes_of(key, limit)
        parts = self.parts(digest for _, digest in found if digest is not None)
        return [(revision, None if digest is None else parts[digest]) for revision, digest in found]

    def names_ever(self, section: str, start: str) -> list[str]:
        """Every name that ever was in a section and begins so."""
        wanted = select(changes.c.name).distinct()
        wanted = wanted.where(changes.c.section == section, changes.c.name.startswith(start, autoescape=True))
        with self._database.read() as connection:
            return list(connection.execute(wanted).scalars())

    def describe(self, revision: int) -> Revision:
        """Raises `NotFound`."""
        with self._database.read() as connection:
            return _require(connection, revision)

    def list(self, before: int | None, limit: int) -> list[Revision]:
        """Revisions, the newest first, from the one before `before` on."""
        wanted = select(revisions).order_by(revisions.c.number.desc()).limit(limit)
        if before is not None:
            wanted = wanted.where(revisions.c.number < before)
        with self._database.read() as connection:
            return [_revision(row) for row in connection.execute(wanted)]


def _head(connection: Connection) -> int:
    return connection.execute(select(func.max(revisions.c.number))).scalar() or NO_REVISION


def _state_of(revision: int) -> Select[str, str, bytes | None]:
    """The last change of every key up to a revision."""
    latest = (
        select(changes.c.section, changes.c.name, func.max(changes.c.revision).label("revision"))
        .where(changes.c.revision <= revision)
        .group_by(changes.c.section, changes.c.name)
        .subquery()
    )
    is_latest = and_(*(changes.c[name] == latest.c[name] for name in ("section", "name", "revision")))
    return (
        select(changes.c.section, changes.c.name, changes.c.digest)
        .join(latest, is_latest)
        .order_by(changes.c.position, changes.c.section, changes.c.name)
    )


def _store(connection: Connection, number: int, made: Sequence[Change]) -> None:
    _store_entries(connection, {change.entry.digest: change.entry for change in made if change.entry is not None})
    positions = _positions(connection, [change.key for change in made])
    next_position = (connection.execute(select(func.max(changes.c.position))).scalar() or 0) + 1
    rows: list[dict[str, Any]] = []
    for n, change in enumerate(made):
        section, name = change.key
        digest = change.entry.digest if change.entry is not None else None
        position = positions.get(change.key, next_position + n)
        rows.append({"section": section, "name": name, "revision": number, "position": position, "digest": digest})
    if rows:
        connection.execute(insert(changes), rows)


def _store_entries(connection: Connection, new: Mapping[bytes, Entry]) -> None:
    digests = list(new)
    known: set[bytes] = set()
    for n in range(0, len(digests), _LOOKED_UP):
        asked = select(entries.c.digest).where(entries.c.digest.in_(digests[n : n + _LOOKED_UP]))
        known |= set(connection.execute(asked).scalars())
    rows = [{"digest": digest, "text": entry.text.decode()} for digest, entry in new.items() if digest not in known]
    if rows:
        connection.execute(insert(entries), rows)


def _positions(connection: Connection, keys: Sequence[Key]) -> dict[Key, int]:
    """Where keys stood that were there before, so that a change leaves them in their place."""
    found: dict[Key, int] = {}
    by_section: dict[str, list[str]] = {}
    for section, name in keys:
        by_section.setdefault(section, []).append(name)
    for section, names in by_section.items():
        for n in range(0, len(names), _LOOKED_UP):
            asked = (
                select(changes.c.name, func.min(changes.c.position))
                .where(changes.c.section == section, changes.c.name.in_(names[n : n + _LOOKED_UP]))
                .group_by(changes.c.name)
            )
            found |= {(section, name): position for name, position in connection.execute(asked)}
    return found


def _require(connection: Connection, revision: int) -> Revision:
    row = connection.execute(select(revisions).where(revisions.c.number == revision)).first()
    if row is None:
        raise NotFound(f"There is no revision {revision}.", reason="revision_not_found", param="revision")
    return _revision(row)


def _revision(row: Any) -> Revision:
    return Revision(row.number, row.author, row.created_at, row.comment)
