"""Framing and cutting: whatever is done to the writes, the bytes stay the same."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from dujiang.emulator import wire
from dujiang.emulator.wire import Signal

steps = st.lists(st.one_of(st.text(min_size=1, max_size=20).map(str.encode), st.floats(0, 1), st.sampled_from(Signal)))


def written(found):
    return b"".join(step for step in found if isinstance(step, bytes))


@given(steps)
def test_cutting_and_joining_keep_the_bytes(given_steps):
    assert written(wire.joined(given_steps)) == written(given_steps)
    assert written(wire.split_within_characters(given_steps)) == written(given_steps)
    assert written(wire.drip(given_steps, 0.0)) == written(given_steps)


@given(steps)
def test_joined_writes_never_touch(given_steps):
    found = list(wire.joined(given_steps))
    assert not any(isinstance(first, bytes) and isinstance(second, bytes) for first, second in pairwise(found))
    assert [step for step in found if not isinstance(step, bytes)] == [
        s for s in given_steps if not isinstance(s, bytes)
    ]


def test_every_character_of_several_bytes_is_cut():
    pieces = [step for step in wire.split_within_characters(["世界".encode()]) if isinstance(step, bytes)]
    assert pieces == [b"\xe4", b"\xb8\x96\xe7", b"\x95\x8c"]


def test_drip_writes_single_bytes():
    assert list(wire.drip([b"abc"], 0.5)) == [b"a", 0.5, b"b", 0.5, b"c"]


def test_framing():
    assert wire.event(b"{}", b" ", b"\n") == b"data: {}\n\n"
    assert wire.chunk(b"x" * 17) == b"11\r\n" + b"x" * 17 + b"\r\n"
    assert wire.head(503, b"text/html", wire.length(b"abc")) == (
        b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: text/html\r\nContent-Length: 3\r\n\r\n"
    )
    assert wire.head(599, b"a/b", b"").startswith(b"HTTP/1.1 599 ")
