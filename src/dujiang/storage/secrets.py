"""Secrets at rest: encrypted, bound to whom they may be sent, and shown to nobody.

A row's name and binding are authenticated with its text: rows cannot be swapped, renamed or bound anew in the database.
"""

import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import msgspec
from msgspec import Struct
from sqlalchemy import Connection, Row, delete, func, insert, select, update

from dujiang.core.binding import Binding
from dujiang.core.errors import InvalidRequest, Misconfigured, NotFound
from dujiang.core.secret import MASK, SEALED, Secret, stored_name
from dujiang.storage.database import Database
from dujiang.storage.encryption import Damaged, Encrypted, EncryptionKey, Keychain
from dujiang.storage.secret_key import OLD_VARIABLE, VARIABLE
from dujiang.storage.tables import secrets

MAX_VALUE_CHARACTERS = 8192
MAX_NAME_CHARACTERS = 64

_NAME = re.compile(r"\w[\w.-]*")
_BATCH = 500


class StoredSecret(Struct, frozen=True):
    """A secret as anybody may see it. `is_sealed` tells that it stands in the place of a document's literal."""

    name: str
    binding: Binding
    key_id: str
    created_at: datetime
    created_by: str

    @property
    def is_sealed(self) -> bool:
        return self.name.startswith(SEALED)


class SecretStore:
    """The table of secrets under a keychain. Values leave it by `reveal` alone, and only for their own binding."""

    def __init__(
        self, database: Database, keychain: Keychain, now: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> None:
        self._database = database
        self._keychain = keychain
        self._now = now

    def put(self, name: str, value: Secret, binding: Binding, by: str) -> None:
        """Stores a secret, in the place of the one with that name if there is one; `by` is who gave it.

        Raises `InvalidRequest` for a name or a value that cannot be used.
        """
        if not _NAME.fullmatch(name) or len(name) > MAX_NAME_CHARACTERS:
            raise InvalidRequest("A secret's name is 1 to 64 letters, digits, `_`, `-` and `.`.", param="name")
        if name.startswith(SEALED):
            raise InvalidRequest(f"Names that begin with `{SEALED}` are the server's own.", param="name")
        row = self._row(name, value, binding, by)
        with self._database.write() as connection:
            connection.execute(delete(secrets).where(secrets.c.name == name))
            connection.execute(insert(secrets).values(row))

    def seal(self, value: Secret, binding: Binding, by: str = "document") -> str:
        """Stores a literal secret of a document, and returns the reference that the document holds instead.

        The same value for the same binding has the same reference, as long as the key is the same. What is sealed
        stays: every revision is kept, and any of them may become the newest again. Raises `InvalidRequest` for a value
        that cannot be used.
        """
        text = msgspec.json.encode((binding.kind, binding.origin, value.reveal()))
        name = SEALED + self._keychain.current.name_of(text)
        row = self._row(name, value, binding, by)
        with self._database.write() as connection:
            if connection.execute(select(secrets.c.name).where(secrets.c.name == name)).first() is None:
                connection.execute(insert(secrets).values(row))
        return f"secret:{name}"

    def reveal(self, name: str, binding: Binding) -> Secret:
        """The value, for a provider that it is bound to.

        Raises `Misconfigured`, which names the secret and what to do: `reason` is `no_secret`, `foreign_secret`,
        `unknown_key` or `damaged_secret`.
        """
        with self._database.read() as connection:
            row = connection.execute(select(secrets).where(secrets.c.name == name)).first()
        if row is None:
            raise Misconfigured(
                f"There is no secret `{name}`: store it with `dujiang secrets set {name}`.", reason="no_secret"
            )
        if _binding_of(row) != binding:
            raise Misconfigured(
                f"The secret `{name}` belongs to another kind of provider or another address: store it for this one.",
                reason="foreign_secret",
            )
        return Secret(self._decrypted(row).decode())

    def mark(self) -> tuple[Any, ...]:
        """Something that differs after every change of the secrets."""
        with self._database.read() as connection:
            return tuple(connection.execute(select(func.count(), func.max(secrets.c.created_at))).one())

    def names(self) -> list[StoredSecret]:
        """What is stored, by name, never a value."""
        with self._database.read() as connection:
            return [_shown(row) for row in connection.execute(select(secrets).order_by(secrets.c.name))]

    def delete(self, name: str) -> None:
        """Raises `NotFound`."""
        with self._database.write() as connection:
            if connection.execute(delete(secrets).where(secrets.c.name == name)).rowcount == 0:
                raise NotFound(f"There is no secret `{name}`.")

    def rotate(self) -> int:
        """Encrypts anew what is under an older key, and returns how many secrets that were: all of them or, on any
        failure, none.

        Raises `Misconfigured` when a secret is under a key that is not given.
        """
        count = 0
        with self._database.write() as connection:
            while batch := connection.execute(self._outdated()).all():
                for row in batch:
                    self._encrypt_anew(connection, row)
                count += len(batch)
        return count

    def _outdated(self) -> Any:
        return select(secrets).where(secrets.c.key_id != self._keychain.current.id).limit(_BATCH)

    def _encrypt_anew(self, connection: Connection, row: Row[Any]) -> None:
        text = self._decrypted(row)
        made = self._keychain.current.encrypt(text, _context(row.name, _binding_of(row)))
        connection.execute(update(secrets).where(secrets.c.name == row.name).values(msgspec.structs.asdict(made)))

    def _row(self, name: str, value: Secret, binding: Binding, by: str) -> dict[str, Any]:
        text = _checked(value)
        made = self._keychain.current.encrypt(text, _context(name, binding))
        return {
            "name": name,
            "kind": binding.kind,
            "origin": binding.origin,
            "created_at": self._now(),
            "created_by": by[:200],
            **msgspec.structs.asdict(made),
        }

    def _decrypted(self, row: Row[Any]) -> bytes:
        try:
            return self._key(row).decrypt(
                Encrypted(row.key_id, row.nonce, row.ciphertext), _context(row.name, _binding_of(row))
            )
        except Damaged:
            raise Misconfigured(
                f"The secret `{row.name}` was changed in the database: store it again.", reason="damaged_secret"
            ) from None

    def _key(self, row: Row[Any]) -> EncryptionKey:
        key = self._keychain.find(row.key_id)
        if key is None:
            raise Misconfigured(
                f"The secret `{row.name}` needs the key with the id {row.key_id}: give it as {VARIABLE}, or as "
                f"{OLD_VARIABLE} beside a new one.",
                reason="unknown_key",
            )
        return key


def _checked(value: Secret) -> bytes:
    """The bytes of a value that can be sent in a header. What is wrong is told without it."""
    text = value.reveal()
    if not 1 <= len(text) <= MAX_VALUE_CHARACTERS:
        fault = f"has 1 to {MAX_VALUE_CHARACTERS} characters"
    elif not (text.isascii() and text.isprintable() and " " not in text):
        fault = "is printable ASCII without spaces (a line break at the end counts)"
    elif text == MASK or "${" in text or stored_name(text):
        fault = "is the secret itself, not something that stands for one"
    else:
        return text.encode()
    raise InvalidRequest(f"A secret {fault}.", param="secret")


def _context(name: str, binding: Binding) -> bytes:
    return msgspec.json.encode((name, binding.kind, binding.origin))


def _binding_of(row: Row[Any]) -> Binding:
    return Binding(row.kind, row.origin)


def _shown(row: Row[Any]) -> StoredSecret:
    return StoredSecret(row.name, _binding_of(row), row.key_id, row.created_at, row.created_by)
