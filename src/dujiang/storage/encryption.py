"""Encrypting short texts: AES-256-GCM (NIST SP 800-38D) under keys derived by HKDF-SHA256 (RFC 5869)."""

import hashlib
import hmac
import os

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from msgspec import Struct

_KEY_BYTES = 32
_NONCE_BYTES = 12
_ID_BYTES = 8


class Damaged(Exception):
    """A ciphertext that this key did not make for this context."""


class Encrypted(Struct, frozen=True):
    """What is stored of a text."""

    key_id: str
    nonce: bytes
    ciphertext: bytes


class EncryptionKey:
    """A key derived from `material`. Prints as its id, which is the start of a hash of the derived key."""

    __slots__ = ("_aead", "_naming_key", "id")

    def __init__(self, material: bytes) -> None:
        derived = _derived(material, b"dujiang secrets: encryption")
        self.id = hashlib.sha256(derived).digest()[:_ID_BYTES].hex()
        self._aead = AESGCM(derived)
        self._naming_key = _derived(material, b"dujiang secrets: naming")

    def __repr__(self) -> str:
        return f"EncryptionKey({self.id})"

    def encrypt(self, text: bytes, context: bytes) -> Encrypted:
        """`context` is not hidden, but nothing decrypts without it. Every call draws a new nonce."""
        nonce = os.urandom(_NONCE_BYTES)
        return Encrypted(self.id, nonce, self._aead.encrypt(nonce, text, context))

    def decrypt(self, found: Encrypted, context: bytes) -> bytes:
        """Raises `Damaged` where text, nonce, key or context is another than at encryption."""
        try:
            return self._aead.decrypt(found.nonce, found.ciphertext, context)
        except (InvalidTag, ValueError):
            raise Damaged from None

    def name_of(self, text: bytes) -> str:
        """32 characters that are the same for the same text, and tell nothing about it without the key."""
        return hmac.digest(self._naming_key, text, "sha256")[:16].hex()


class Keychain:
    """The key that encrypts, and older ones that only decrypt what was encrypted before."""

    def __init__(self, current: EncryptionKey, *older: EncryptionKey) -> None:
        self.current = current
        self._by_id = {key.id: key for key in (*older, current)}

    def find(self, key_id: str) -> EncryptionKey | None:
        return self._by_id.get(key_id)


def _derived(material: bytes, purpose: bytes) -> bytes:
    return HKDF(algorithm=SHA256(), length=_KEY_BYTES, salt=None, info=purpose).derive(material)
