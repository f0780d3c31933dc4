"""The first key: without it nobody could make another."""

from datetime import UTC, datetime

from sqlalchemy import Connection, insert, select, update

from dujiang.core.errors import Misconfigured
from dujiang.core.strength import weakness
from dujiang.identity.key import Key, key_of
from dujiang.identity.keys import MARK, hash_secret, new_row, new_secret
from dujiang.identity.roles import ADMIN_APP, ADMIN_ROLE
from dujiang.identity.tables import keys
from dujiang.storage.database import Database
from dujiang.storage.marks import raise_mark

VARIABLE = "DUJIANG_ADMIN_KEY"
MIN_CHARACTERS = 24
MAX_CHARACTERS = 512


def ensure_admin(database: Database, given: str | None) -> str | None:
    """Leaves the database with a usable key of the app `admin`, and returns its secret only when it was made just now.

    A `given` secret takes the place of the one given before. Without one, a key is made when there is no usable admin
    key: at the first start, or after the last one was revoked. Raises `Misconfigured` for a given secret that is too
    weak, that another key has, or whose key was revoked.
    """
    if given is not None:
        _require_strong(given)
        with database.write() as connection:
            _place(connection, given)
        return None
    with database.write() as connection:
        if any(_is_usable_admin(key_of(row)) for row in connection.execute(select(keys))):
            return None
        secret = new_secret()
        row = _admin_row(secret, name="first start", origin="first_start")
        connection.execute(insert(keys).values(**row, mark=raise_mark(connection, MARK)))
        return secret


def _require_strong(secret: str) -> None:
    """A person chose this secret, so it is judged; the message never repeats it."""
    fault = weakness(secret, least=MIN_CHARACTERS, most=MAX_CHARACTERS)
    if fault:
        raise Misconfigured(f"{VARIABLE} {fault}. Make one with `openssl rand -hex 24`, or unset it.", param=VARIABLE)


def _place(connection: Connection, secret: str) -> None:
    """One row holds whatever secret is given, so that going back to an earlier one is no different from going on."""
    digest = hash_secret(secret.encode())
    place = keys.c.origin == "environment"
    holder = connection.execute(select(keys).where(keys.c.secret_hash == digest)).first()
    if holder is None:
        row = _admin_row(secret, name=VARIABLE, origin="environment") | {"prefix": "", "secret_hash": digest}
        row["mark"] = raise_mark(connection, MARK)
        anew = {name: value for name, value in row.items() if name not in {"id", "created_at"}}
        if connection.execute(update(keys).where(place).values(anew)).rowcount == 0:
            connection.execute(insert(keys).values(row))
    elif not _is_usable_admin(key_of(holder)):
        raise Misconfigured(
            f"{VARIABLE} is the secret of the key {holder.id}, which is no usable admin key: give another.",
            param=VARIABLE,
        )
    elif holder.origin != "environment":
        still_open = place & keys.c.revoked_at.is_(None)
        mark = raise_mark(connection, MARK)
        connection.execute(update(keys).where(still_open).values(revoked_at=datetime.now(UTC), mark=mark))


def _admin_row(secret: str, *, name: str, origin: str) -> dict[str, object]:
    return new_row(secret, app=ADMIN_APP, roles=(ADMIN_ROLE,), name=name, origin=origin)


def _is_usable_admin(key: Key) -> bool:
    return key.app == ADMIN_APP and ADMIN_ROLE in key.roles and key.is_usable(datetime.now(UTC))
