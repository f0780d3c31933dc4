"""Where a page ended: opaque, of no use with other filters or for other eyes, and nobody can make one up."""

import hmac
import os
from base64 import urlsafe_b64decode, urlsafe_b64encode
from contextlib import suppress
from pathlib import Path

import msgspec
from msgspec import Struct

from dujiang.core.errors import InvalidRequest
from dujiang.core.ids import new_id
from dujiang.records.query import RecordQuery, Scope

_SEAL_BYTES = 16
_KEY_BYTES = 32


class Position(Struct, frozen=True, array_like=True, order=True):
    """A row's place in an order: what it is sorted by beside its id, and the id."""

    value: int | float
    id: bytes


class Cursors:
    """Writes and reads cursors, sealed with a key (HMAC-SHA-256, 16 bytes of it)."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    def write(self, position: Position, query: RecordQuery, scope: Scope) -> str:
        plain = msgspec.msgpack.encode(position)
        return urlsafe_b64encode(self._seal(plain, query, scope) + plain).decode().rstrip("=")

    def read(self, text: str, query: RecordQuery, scope: Scope) -> Position:
        """Raises `InvalidRequest` for whatever this did not write, and for a cursor of another query or caller."""
        with suppress(ValueError, msgspec.MsgspecError):
            sealed = urlsafe_b64decode(text.encode("ascii") + b"=" * (-len(text) % 4))
            seal, plain = sealed[:_SEAL_BYTES], sealed[_SEAL_BYTES:]
            if hmac.compare_digest(seal, self._seal(plain, query, scope)):
                return msgspec.msgpack.decode(plain, type=Position)
        raise InvalidRequest("This cursor does not belong to this query.", reason="cursor", param="cursor")

    def _seal(self, plain: bytes, query: RecordQuery, scope: Scope) -> bytes:
        """`limit` may change from page to page, everything else may not."""
        asked = msgspec.structs.replace(query, limit=0, cursor=None)
        bound = msgspec.msgpack.encode([asked, scope, plain])
        return hmac.digest(self._key, bound, "sha256")[:_SEAL_BYTES]


def new_key() -> bytes:
    return os.urandom(_KEY_BYTES)


def read_key(file: Path) -> bytes:
    """The key of this installation, made the first time. Several processes may ask at once and get the same."""
    if not file.exists():
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        draft = file.with_name(f"{file.name}.{new_id()}")
        draft.touch(mode=0o600)
        draft.write_bytes(new_key())
        with suppress(FileExistsError):
            os.link(draft, file)
        draft.unlink()
    return file.read_bytes()
