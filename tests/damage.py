"""Bytes as a bad network delivers them: cut anywhere, or damaged."""

from itertools import pairwise

from hypothesis import strategies as st

_NOISE = [b"\r\n", b"\n", b"\r", b"\0", b" ", b":", b"\xff", b"0"]


def cut(data: bytes, at: list[int]) -> list[bytes]:
    edges = [0, *sorted({n for n in at if 0 < n < len(data)}), len(data)]
    return [data[start:end] for start, end in pairwise(edges)]


@st.composite
def damaged(draw: st.DrawFn, intact: st.SearchStrategy[bytes], intruder: bytes) -> bytes:
    """`intact`, with up to four pieces put in, taken out, overwritten or repeated; one of the pieces is `intruder`."""
    wire = bytearray(draw(intact))
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(wire)))
        kind = draw(st.sampled_from(["insert", "delete", "replace", "repeat"]))
        some = draw(st.sampled_from([*_NOISE, intruder]))
        if kind == "insert":
            wire[at:at] = some
        elif kind == "delete":
            del wire[at : at + draw(st.integers(1, 5))]
        elif kind == "replace":
            wire[at : at + len(some)] = some
        else:
            wire[at:at] = bytes(wire[at : at + 40])
    return bytes(wire)
