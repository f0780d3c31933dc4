"""The keys in memory: what authentication asks on every request."""

import time
from collections.abc import Callable, Iterator, Mapping
from hashlib import sha256
from hmac import compare_digest
from math import inf

from msgspec import Struct
from sqlalchemy import select

from dujiang.core.call import Caller
from dujiang.identity.key import MAX_DEPTH, Key, caller_of, key_of
from dujiang.identity.keys import MARK
from dujiang.identity.tables import keys
from dujiang.storage.database import Database
from dujiang.storage.marks import read_mark

_SELECTOR_BYTES = 16


class Held(Struct, frozen=True):
    """A key with the digests of its secrets, and the caller that it makes."""

    key: Key
    digest: bytes
    previous_digest: bytes | None
    caller: Caller


class KeyRing:
    """Callers by the SHA-256 of their secret, each with the Unix second at which that expires.

    An entry is found by half of the digest, and the whole of it compared in constant time. `held` has all keys by id,
    revoked ones too, as they were at the change mark `mark`.
    """

    __slots__ = ("_entries", "_now_s", "held", "mark")

    def __init__(
        self,
        entries: Mapping[bytes, tuple[Caller, float]],
        now_s: Callable[[], float] = time.time,
        *,
        held: Mapping[str, Held] | None = None,
        mark: int = 0,
    ) -> None:
        self._entries = {
            digest[:_SELECTOR_BYTES]: (digest, caller, expires_s) for digest, (caller, expires_s) in entries.items()
        }
        self._now_s = now_s
        self.held = held or {}
        self.mark = mark

    @property
    def callers(self) -> dict[str, Caller]:
        """Who holds the keys, by id."""
        return {caller.key_id: caller for _, caller, _ in self._entries.values()}

    def __len__(self) -> int:
        return len(self._entries)

    def find(self, secret: bytes) -> Caller | None:
        """Who holds `secret`; None for nobody, and for a key that has expired."""
        digest = sha256(secret).digest()
        entry = self._entries.get(digest[:_SELECTOR_BYTES])
        if entry is None:
            return None
        known, caller, expires_s = entry
        if not compare_digest(known, digest) or (expires_s != inf and self._now_s() >= expires_s):
            return None
        return caller


def load_keys(database: Database, before: KeyRing | None = None) -> KeyRing:
    """The keys as they are now. Of those that `before` knows only what changed is read; callers that did not change
    stay the same objects, so that what is remembered of them holds.
    """
    known = before.held if before is not None else {}
    wanted = select(keys)
    if before is not None:
        wanted = wanted.where(keys.c.mark > before.mark)
    with database.read() as connection:
        mark = read_mark(connection, MARK)
        rows = {row.id: row for row in connection.execute(wanted)}
    made = {each.key.id: each.key for each in known.values()} | {id: key_of(row) for id, row in rows.items()}
    callers = _callers(made, known)
    held = {
        id: Held(key, rows[id].secret_hash, rows[id].previous_hash, callers[id])
        if id in rows
        else Held(key, known[id].digest, known[id].previous_digest, callers[id])
        for id, key in made.items()
    }
    return KeyRing(_entries(held), held=held, mark=mark)


def _callers(made: Mapping[str, Key], known: Mapping[str, Held]) -> dict[str, Caller]:
    callers: dict[str, Caller] = {}

    def caller(id: str) -> Caller:
        if id not in callers:
            key, held = made[id], known.get(id)
            lineage = tuple(caller(maker) for maker in _makers(key, made) if made[maker].is_counted)
            is_same = held is not None and held.key == key and _are_same(held.caller.lineage, lineage)
            callers[id] = held.caller if held is not None and is_same else caller_of(key, lineage)
        return callers[id]

    for id in made:
        caller(id)
    return callers


def _makers(key: Key, made: Mapping[str, Key]) -> Iterator[str]:
    """The keys by which a key was made, the nearest first."""
    maker = key.created_by
    for _ in range(MAX_DEPTH):
        if maker is None or maker not in made:
            return
        yield maker
        maker = made[maker].created_by


def _are_same(one: tuple[Caller, ...], other: tuple[Caller, ...]) -> bool:
    return len(one) == len(other) and all(a is b for a, b in zip(one, other, strict=True))


def _entries(held: Mapping[str, Held]) -> dict[bytes, tuple[Caller, float]]:
    """What is good now; no secret of before a rotation takes the place of another key's own."""
    entries: dict[bytes, tuple[Caller, float]] = {}
    usable = [each for each in held.values() if each.key.revoked_at is None]
    for each in usable:
        if each.previous_digest is not None and each.key.previous_until is not None:
            until_s = min(each.key.previous_until.timestamp(), _expires_s(each.key))
            entries[each.previous_digest] = (each.caller, until_s)
    for each in usable:
        entries[each.digest] = (each.caller, _expires_s(each.key))
    return entries


def _expires_s(key: Key) -> float:
    return key.expires_at.timestamp() if key.expires_at is not None else inf
