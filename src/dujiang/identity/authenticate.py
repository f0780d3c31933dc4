"""From an `Authorization` header to a caller."""

from dujiang.core.call import Caller
from dujiang.core.errors import Unauthenticated
from dujiang.identity.key_ring import KeyRing

MAX_HEADER_BYTES = 1024

_MESSAGE = "The API key is missing or not valid. Send it as `Authorization: Bearer dj-…`."


def authenticate(ring: KeyRing, header: bytes | None) -> Caller:
    """Raises `Unauthenticated`, in the same words whatever was wrong: a stranger learns nothing about keys."""
    caller = ring.find(bearer(header))
    if caller is None:
        raise Unauthenticated(_MESSAGE)
    return caller


def bearer(header: bytes | None) -> bytes:
    """The credentials of a Bearer header (RFC 6750 §2.1; the scheme's case does not matter, RFC 9110 §11.1).

    They stay bytes: what is looked up by its hash needs no decoding. Raises `Unauthenticated`.
    """
    if header is None or len(header) > MAX_HEADER_BYTES or header[:7].lower() != b"bearer ":
        raise Unauthenticated(_MESSAGE)
    return header[7:].strip(b" \t")
