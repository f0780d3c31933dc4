"""The keys in memory: what authentication asks on every request."""

import time
from collections.abc import Callable, Mapping
from hashlib import sha256
from math import inf

from sqlalchemy import select

from dujiang.core.call import Caller
from dujiang.identity.keys import key_of
from dujiang.identity.tables import keys
from dujiang.storage.database import Database


class KeyRing:
    """Callers by the SHA-256 of their secret, each with the Unix second at which it expires.

    A dictionary does not compare in constant time, and need not: what a clock could reveal is how a digest compares,
    and nobody can choose digests without knowing the secret.
    """

    __slots__ = ("_entries", "_now_s")

    def __init__(self, entries: Mapping[bytes, tuple[Caller, float]], now_s: Callable[[], float] = time.time) -> None:
        self._entries = dict(entries)
        self._now_s = now_s

    @property
    def callers(self) -> dict[str, Caller]:
        """Who holds the keys, by id."""
        return {caller.key_id: caller for caller, _ in self._entries.values()}

    def __len__(self) -> int:
        return len(self._entries)

    def find(self, secret: bytes) -> Caller | None:
        """Who holds `secret`; None for nobody, and for a key that has expired."""
        entry = self._entries.get(sha256(secret).digest())
        if entry is None:
            return None
        caller, expires_s = entry
        if expires_s != inf and self._now_s() >= expires_s:
            return None
        return caller


def load_keys(database: Database) -> KeyRing:
    """Every key that is not revoked."""
    entries: dict[bytes, tuple[Caller, float]] = {}
    with database.read() as connection:
        for row in connection.execute(select(keys).where(keys.c.revoked_at.is_(None))):
            key = key_of(row)
            caller = Caller(key_id=key.id, app=key.app, roles=key.roles, act_as_user=key.act_as_user)
            entries[row.secret_hash] = (caller, key.expires_at.timestamp() if key.expires_at else inf)
    return KeyRing(entries)
