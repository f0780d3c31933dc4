"""API keys in the database: made, changed, rotated, revoked, each with its row in the audit and in one transaction.

Whoever writes is judged there too, by what they and the key hold at that moment.
"""

import hashlib
import secrets
import string
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

from msgspec import Struct
from sqlalchemy import Connection, insert, select, update

from dujiang.core.errors import Conflict, Forbidden, InvalidRequest, NotFound, Unauthenticated, Unprocessable
from dujiang.core.ids import new_id
from dujiang.identity.grants import Holding, Policy, excess
from dujiang.identity.key import MAX_DEPTH, Key, fields_of, key_of, shown_key
from dujiang.identity.key_fields import KeyFields, NewKey, columns_of
from dujiang.identity.roles import ADMIN_APP
from dujiang.identity.tables import keys
from dujiang.storage.audit import Audit, Deed, note
from dujiang.storage.database import Database
from dujiang.storage.marks import raise_mark

MARK = "identity"
"""The change mark of keys and of what is said of users."""

MAX_ID_CHARACTERS = 64
MAX_NAME_CHARACTERS = 200
MAX_OVERLAP_S = 30 * 86_400

_ALPHABET = string.ascii_letters + string.digits
_START = "dj-"
_SECRET_CHARACTERS = 40
_PREFIX_CHARACTERS = 8


class Writer(Struct, frozen=True):
    """Who writes keys and users: the id of a key and the policy that it is judged by, or without one the operator, who
    holds the machine.
    """

    name: str
    policy: Policy | None = None


OPERATOR = Writer("command line")


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
    """The columns of a key that never expires and narrows nothing, but its mark. Does not hold the secret."""
    return {
        "id": new_id(),
        "app": app,
        "origin": origin,
        "created_at": datetime.now(UTC),
        "revoked_at": None,
        "created_by": None,
        **_secret_columns(secret),
        **columns_of(KeyFields(roles=tuple(roles), name=name)),
    }


def create_key(database: Database, *, app: str, roles: Sequence[str], name: str = "") -> tuple[str, str]:
    """As `make_key`, by the operator, for a key that narrows nothing: its id and its secret.

    Whether the document defines the app and the roles is not asked: a key whose roles do not exist has no rights.
    """
    key, secret = make_key(database, NewKey(app=app, roles=tuple(roles), name=name), OPERATOR)
    return key.id, secret


def make_key(database: Database, new: NewKey, writer: Writer) -> tuple[Key, str]:
    """The new key and its secret, which nobody can see again.

    Raises `InvalidRequest` for names that are empty or too long, `Unprocessable` for other fields and for an app or
    roles that the policy does not know, and `Forbidden` for what its writer may not grant.
    """
    _require_names(new)
    secret = new_secret()
    row = new_row(secret, app=new.app, roles=new.roles, name=new.name, origin="created") | columns_of(new)
    _require_future(row["expires_at"])
    with refusals_noted(database, writer, "create", "keys"), database.write() as connection:
        judge = judging(connection, writer)
        judge.require_app(new.app)
        judge.require_roles(new.roles)
        judge.require_depth()
        row["created_by"] = judge.key_id
        connection.execute(insert(keys).values(**row, mark=raise_mark(connection, MARK)))
        key = _find(connection, row["id"], None)
        judge.require_grant(connection, key)
        _note(connection, writer, "create", None, key)
    return key, secret


def change_key(database: Database, key_id: str, make: Callable[[dict[str, Any]], KeyFields], writer: Writer) -> Key:
    """Change what can be changed of a key. `make` gets that as plain values, and gives what it shall be.

    Raises `NotFound`, `Conflict` for a revoked key, and as `make_key`: whoever changes a key must hold all that it
    held, and all that it holds then.
    """
    with refusals_noted(database, writer, "change", f"keys.{key_id}"), database.write() as connection:
        judge = judging(connection, writer)
        before = _usable(connection, key_id, judge)
        fields = make(fields_of(before))
        columns = columns_of(fields)
        if columns["expires_at"] != before.expires_at:
            _require_future(columns["expires_at"])
        judge.require_hold(connection, before)
        judge.require_roles([role for role in fields.roles if role not in before.roles])
        _write(connection, key_id, columns)
        after = _find(connection, key_id, None)
        judge.require_grant(connection, after)
        _note(connection, writer, "change", before, after)
    return after


def rotate_key(database: Database, key_id: str, overlap_s: float, writer: Writer) -> tuple[Key, str]:
    """Give a key another secret; the one before it is good for `overlap_s` seconds more.

    Raises `NotFound`, `Conflict` for a key that is revoked, has expired or comes from the environment, and `Forbidden`
    for one that holds more than its writer, or whose use would be counted to others than the writer's own.
    """
    secret = new_secret()
    with refusals_noted(database, writer, "rotate", f"keys.{key_id}"), database.write() as connection:
        judge = judging(connection, writer)
        before = _usable(connection, key_id, judge)
        now = datetime.now(UTC)
        if before.origin == "environment":
            raise Conflict("This key's secret is in DUJIANG_ADMIN_KEY: change that.", reason="environment")
        if not before.is_usable(now):
            raise Conflict(f"The key `{key_id}` has expired.", reason="expired")
        judge.require_hold(connection, before)
        judge.require_charged(connection, before)
        columns = _secret_columns(secret)
        if overlap_s > 0:
            held = connection.execute(select(keys.c.secret_hash).where(keys.c.id == key_id)).scalar_one()
            columns |= {"previous_hash": held, "previous_until": now + timedelta(seconds=overlap_s)}
        _write(connection, key_id, columns)
        after = _find(connection, key_id, None)
        _note(connection, writer, "rotate", before, after)
    return after, secret


def revoke_key(database: Database, key_id: str, writer: Writer = OPERATOR) -> None:
    """End a key for good, and no key made by it; doing it twice changes nothing.

    Raises `NotFound`, and `Forbidden` for a key that holds more than its writer.
    """
    with refusals_noted(database, writer, "revoke", f"keys.{key_id}"), database.write() as connection:
        judge = judging(connection, writer)
        before = _find(connection, key_id, judge.scope)
        if before.revoked_at is not None:
            return
        judge.require_hold(connection, before)
        _write(connection, key_id, {"revoked_at": datetime.now(UTC), "previous_hash": None, "previous_until": None})
        _note(connection, writer, "revoke", before, _find(connection, key_id, None))


def list_keys(database: Database) -> list[Key]:
    """Every key, revoked ones included, oldest first."""
    with database.read() as connection:
        return [key_of(row) for row in connection.execute(select(keys).order_by(keys.c.id))]


def page_of_keys(database: Database, app: str | None, before: str | None, limit: int) -> list[Key]:
    """Keys of an app, or of all, the newest first, from the one before `before` on."""
    wanted = select(keys).order_by(keys.c.id.desc()).limit(limit)
    if app is not None:
        wanted = wanted.where(keys.c.app == app)
    if before is not None:
        wanted = wanted.where(keys.c.id < before)
    with database.read() as connection:
        return [key_of(row) for row in connection.execute(wanted)]


def get_key(database: Database, key_id: str, app: str | None = None) -> Key:
    """A key of an app, or of any. Raises `NotFound`."""
    with database.read() as connection:
        return _find(connection, key_id, app)


class Judge(Struct, frozen=True):
    """One who writes, as the transaction sees them. `lineage` begins with their key; the operator has none."""

    policy: Policy | None
    lineage: tuple[Key, ...]
    holding: Holding | None

    @property
    def key_id(self) -> str | None:
        return self.lineage[0].id if self.lineage else None

    @property
    def scope(self) -> str | None:
        """The app whose objects they see; None for all."""
        return None if self.holding is None or self.holding.is_platform else self.holding.app

    def require_app(self, app: str) -> None:
        """Raises `Forbidden` for another app than their own, `Unprocessable` for one that nobody declared."""
        if self.policy is None or app == self.scope:
            return
        if self.scope is not None:
            raise Forbidden("`app` must be that of your own key.", reason="grant", param="app")
        if app != ADMIN_APP and app not in self.policy.apps:
            raise Unprocessable(f"`app`: the configuration has no app `{app[:100]}`.", param="app")

    def require_roles(self, roles: Sequence[str]) -> None:
        """Raises `Unprocessable` for a role that the policy does not know."""
        for role in roles:
            if self.policy is not None and role not in self.policy.roles:
                raise Unprocessable(f"`roles`: the configuration has no role `{role[:100]}`.", param="roles")

    def require_depth(self) -> None:
        """Raises `Forbidden` where a key would stand too far from the operator for all its makers to be counted."""
        if len(self.lineage) > MAX_DEPTH:
            raise Forbidden(f"Keys make keys {MAX_DEPTH} deep and no deeper.", reason="grant")

    def require_grant(self, connection: Connection, key: Key) -> None:
        """Raises `Forbidden`, naming the field, where a key would hold more than they do."""
        if self.policy is None or self.holding is None:
            return
        for problem in excess(self.holding, self.policy.holding(lineage_of(connection, key))):
            raise Forbidden(f"`{problem.path}` {problem.message}.", reason="grant", param=problem.path)

    def require_hold(self, connection: Connection, key: Key) -> None:
        """Raises `Forbidden` for a key that holds more than they do."""
        if self.policy is None or self.holding is None or key.id == self.key_id:
            return
        for problem in excess(self.holding, self.policy.holding(lineage_of(connection, key))):
            raise Forbidden(
                f"The key `{key.id}` holds more than yours does: see its `{problem.path}`.", reason="grant", param="id"
            )

    def require_charged(self, connection: Connection, key: Key) -> None:
        """Raises `Forbidden` for a key with which they would not use up what their own may use."""
        if self.policy is None or self.holding is None:
            return
        if self.holding.charged - self.policy.holding(lineage_of(connection, key)).charged:
            raise Forbidden(
                "What this key uses is not counted to yours, whose limits or budget you would get round.",
                reason="grant",
                param="id",
            )


def judging(connection: Connection, writer: Writer) -> Judge:
    """Who writes, by their key's row of this moment. Raises `Unauthenticated` for one that is not usable any more."""
    if writer.policy is None:
        return Judge(None, (), None)
    row = connection.execute(select(keys).where(keys.c.id == writer.name)).first()
    key = None if row is None else key_of(row)
    if key is None or not key.is_usable(datetime.now(UTC)):
        raise Unauthenticated("The API key is not valid any more.")
    lineage = lineage_of(connection, key)
    return Judge(writer.policy, lineage, writer.policy.holding(lineage))


def lineage_of(connection: Connection, key: Key) -> tuple[Key, ...]:
    """A key, and those by which it was made, the nearest first."""
    lineage = [key]
    while lineage[-1].created_by is not None and len(lineage) <= MAX_DEPTH:
        row = connection.execute(select(keys).where(keys.c.id == lineage[-1].created_by)).first()
        if row is None:
            break
        lineage.append(key_of(row))
    return tuple(lineage)


@contextmanager
def refusals_noted(database: Database, writer: Writer, action: str, subject: str) -> Generator[None]:
    """Leave a row in the audit when the block raises `Forbidden`."""
    try:
        yield
    except Forbidden as error:
        Audit(database).add(Deed(writer.name, action, subject[:200], "refused", error.message))
        raise


def _note(connection: Connection, writer: Writer, action: str, before: Key | None, after: Key) -> None:
    shown = None if before is None else shown_key(before)
    note(connection, Deed(writer.name, action, f"keys.{after.id}", before=shown, after=shown_key(after)))


def _find(connection: Connection, key_id: str, app: str | None) -> Key:
    """Raises `NotFound`, for a key of another app too."""
    wanted = select(keys).where(keys.c.id == key_id)
    row = connection.execute(wanted if app is None else wanted.where(keys.c.app == app)).first()
    if row is None:
        raise NotFound(f"There is no key `{key_id[:100]}`.", reason="key_not_found", param="id")
    return key_of(row)


def _usable(connection: Connection, key_id: str, judge: Judge) -> Key:
    """Raises `NotFound`, and `Conflict` for a key that is revoked."""
    key = _find(connection, key_id, judge.scope)
    if key.revoked_at is not None:
        raise Conflict(f"The key `{key_id}` is revoked: make another one.", reason="revoked")
    return key


def _write(connection: Connection, key_id: str, columns: dict[str, Any]) -> None:
    mark = raise_mark(connection, MARK)
    connection.execute(update(keys).where(keys.c.id == key_id).values(**columns, mark=mark))


def _secret_columns(secret: str) -> dict[str, Any]:
    return {
        "prefix": prefix_of(secret),
        "secret_hash": hash_secret(secret.encode()),
        "previous_hash": None,
        "previous_until": None,
    }


def _require_names(new: NewKey) -> None:
    for each in (new.app, *new.roles):
        _require_length(each, least=1, most=MAX_ID_CHARACTERS)
    _require_length(new.name, least=0, most=MAX_NAME_CHARACTERS)
    if not new.roles:
        raise InvalidRequest("A key needs at least one role.", param="roles")


def _require_length(text: str, *, least: int, most: int) -> None:
    if not least <= len(text) <= most:
        raise InvalidRequest(f"`{text[:most]}` must have {least} to {most} characters.")


def _require_future(expires_at: datetime | None) -> None:
    if expires_at is not None and expires_at <= datetime.now(UTC):
        raise Unprocessable("`expires_at` must be in the future.", param="expires_at")
