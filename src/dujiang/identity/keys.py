"""API keys: their secrets, and their rows in the database."""

import hashlib
import secrets
import string
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from msgspec import Struct
from sqlalchemy import Row, insert, select, update

from dujiang.core.errors import InvalidRequest, NotFound
from dujiang.core.ids import new_id
from dujiang.identity.tables import keys
from dujiang.storage.database import Database

_ALPHABET = string.ascii_letters + string.digits
_START = "dj-"
_SECRET_CHARACTERS = 40
_PREFIX_CHARACTERS = 8

MAX_ID_CHARACTERS = 64
MAX_NAME_CHARACTERS = 200


class Key(Struct, frozen=True):
    """A key as anybody may see it. `prefix` is how its secret begins, empty when a person chose the secret."""

    id: str
    prefix: str
    app: str
    roles: tuple[str, ...]
    name: str
    origin: str
    act_as_user: bool
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None

    def is_usable(self, now: datetime) -> bool:
        return self.revoked_at is None and (self.expires_at is None or now < self.expires_at)


def new_secret() -> str:
    """`dj-` and 40 letters and digits: 238 random bits, of which the 32 characters that are never shown keep 190."""
    return _START + "".join(secrets.choice(_ALPHABET) for _ in range(_SECRET_CHARACTERS))


def hash_secret(secret: bytes) -> bytes:
    """SHA-256. A slow password hash would add nothing: a secret is random, and this runs once a call."""
    return hashlib.sha256(secret).digest()


def prefix_of(secret: str) -> str:
    """The part of a made secret by which people tell their keys apart."""
    return secret[len(_START) :][:_PREFIX_CHARACTERS]


def new_row(secret: str, *, app: str, roles: Sequence[str], name: str, origin: str) -> dict[str, Any]:
    """The columns of a key that never expires. Does not hold the secret."""
    return {
        "id": new_id(),
        "prefix": prefix_of(secret),
        "secret_hash": hash_secret(secret.encode()),
        "app": app,
        "roles": list(roles),
        "name": name,
        "origin": origin,
        "act_as_user": True,
        "created_at": datetime.now(UTC),
    }


def create_key(database: Database, *, app: str, roles: Sequence[str], name: str = "") -> tuple[str, str]:
    """The new key's id and its secret, which nobody can see again.

    Whether the document defines the app and the roles is not asked: a key whose roles do not exist has no rights.
    Raises `InvalidRequest` for names that are empty or too long.
    """
    for each in (app, *roles):
        _require_length(each, least=1, most=MAX_ID_CHARACTERS)
    _require_length(name, least=0, most=MAX_NAME_CHARACTERS)
    if not roles:
        raise InvalidRequest("A key needs at least one role.", param="roles")
    secret = new_secret()
    row = new_row(secret, app=app, roles=roles, name=name, origin="created")
    with database.write() as connection:
        connection.execute(insert(keys).values(row))
    return row["id"], secret


def list_keys(database: Database) -> list[Key]:
    """Every key, revoked ones included, oldest first."""
    with database.read() as connection:
        return [key_of(row) for row in connection.execute(select(keys).order_by(keys.c.id))]


def revoke_key(database: Database, key_id: str) -> None:
    """Ends a key for good; doing it twice changes nothing. Raises `NotFound`."""
    with database.write() as connection:
        if connection.execute(select(keys.c.id).where(keys.c.id == key_id)).first() is None:
            raise NotFound(f"There is no key `{key_id}`.")
        still_open = (keys.c.id == key_id) & keys.c.revoked_at.is_(None)
        connection.execute(update(keys).where(still_open).values(revoked_at=datetime.now(UTC)))


def _require_length(text: str, *, least: int, most: int) -> None:
    if not least <= len(text) <= most:
        raise InvalidRequest(f"`{text[:most]}` must have {least} to {most} characters.")


def key_of(row: Row[Any]) -> Key:
    return Key(
        id=row.id,
        prefix=row.prefix,
        app=row.app,
        roles=tuple(row.roles),
        name=row.name,
        origin=row.origin,
        act_as_user=row.act_as_user,
        created_at=row.created_at,
        expires_at=row.expires_at,
        revoked_at=row.revoked_at,
    )
