"""No ciphertext, nonce or context but the very one that was made decrypts."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dujiang.storage.encryption import Damaged, Encrypted, EncryptionKey

KEY = EncryptionKey(b"one key of a test, 32 bytes long")


@given(st.binary(max_size=200), st.binary(max_size=50))
def test_what_was_encrypted_comes_back(text: bytes, context: bytes) -> None:
    assert KEY.decrypt(KEY.encrypt(text, context), context) == text


@given(st.binary(max_size=50), st.binary(max_size=20), st.data())
def test_any_other_bytes_are_refused(text: bytes, context: bytes, data: st.DataObject) -> None:
    made = KEY.encrypt(text, context)
    other = Encrypted(
        made.key_id,
        data.draw(st.just(made.nonce) | st.binary(max_size=20)),
        data.draw(st.just(made.ciphertext) | _changed(made.ciphertext)),
    )
    other_context = data.draw(st.just(context) | st.binary(max_size=20))
    if (other, other_context) == (made, context):
        return
    with pytest.raises(Damaged):
        KEY.decrypt(other, other_context)


def _changed(text: bytes) -> st.SearchStrategy[bytes]:
    flipped = st.integers(0, len(text) * 8 - 1).map(lambda n: _flip(text, n))
    return flipped | st.integers(0, len(text) - 1).map(lambda n: text[:n]) | st.binary(min_size=1).map(text.__add__)


def _flip(text: bytes, bit: int) -> bytes:
    return text[: bit // 8] + bytes([text[bit // 8] ^ 1 << bit % 8]) + text[bit // 8 + 1 :]
