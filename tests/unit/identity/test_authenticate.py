"""The `Authorization` header: one answer for every wrong one."""

from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dujiang.core.call import Caller
from dujiang.core.errors import Unauthenticated
from dujiang.identity.authenticate import MAX_HEADER_BYTES, authenticate, bearer
from dujiang.identity.key_ring import KeyRing
from dujiang.identity.keys import hash_secret

SECRET = b"dj-0123456789abcdefghijABCDEFGHIJ0123456789"
HOLDER = Caller(key_id="k", app="shop", roles=("user",))
RING = KeyRing({hash_secret(SECRET): (HOLDER, inf), hash_secret(b"old"): (HOLDER, 0.0)})
MESSAGE = "The API key is missing or not valid. Send it as `Authorization: Bearer dj-…`."

SQL = [
    "' OR '1'='1",
    '"; DROP TABLE keys;--',
    "%",
    "_",
    "\\",
    "' UNION SELECT secret_hash FROM keys--",
    "\x00",
    "{}",
    "%s",
]


def wrong():
    text = st.sampled_from(SQL) | st.text(max_size=40)
    noise = st.lists(text, max_size=8).map(lambda parts: "".join(parts).encode("utf-8", "surrogatepass"))
    raw = st.binary(max_size=80)
    scheme = st.sampled_from([b"Bearer ", b"bearer  ", b"Basic ", b"", b"Bearer", b"Bearer\t", b"Bearer " + SECRET])
    return st.builds(lambda start, rest: start + rest, scheme, noise | raw).filter(
        lambda h: h.strip(b" \t")[7:].strip(b" \t") != SECRET
    )


@pytest.mark.parametrize("header", [b"Bearer " + SECRET, b"bearer " + SECRET, b"BEARER   " + SECRET + b" \t"])
def test_the_right_key_is_let_in(header):
    assert authenticate(RING, header) is HOLDER


@given(wrong())
def test_every_wrong_header_gets_the_same_answer(header):
    refused(header)


@pytest.mark.parametrize(
    "header",
    [
        None,
        b"",
        b"Bearer",
        b"Bearer ",
        SECRET,
        b"Basic " + SECRET,
        b"Bearer " + SECRET[:-1],
        b"Bearer " + SECRET.upper(),
        b"Bearer " + SECRET + b"\x00",
        b"Bearer " + SECRET + b", Bearer " + SECRET,
        b"Bearer " + hash_secret(SECRET),
        b"Bearer old",
        b"Bearer " + b" " * MAX_HEADER_BYTES + SECRET,
        b"Bearer " + b"x" * 8192,
    ],
)
def test_near_misses_get_it_too(header):
    refused(header)


def test_the_longest_header_is_still_read():
    assert len(bearer(b"Bearer " + b"x" * (MAX_HEADER_BYTES - 7))) == MAX_HEADER_BYTES - 7


def refused(header):
    with pytest.raises(Unauthenticated) as caught:
        authenticate(RING, header)
    error = caught.value
    assert (error.message, error.reason, error.param, error.status) == (MESSAGE, None, None, 401)
