"""However an event stream is cut and whatever ends its lines, the same payloads come out."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dujiang.providers.sse import LINE_BYTES, EventDecoder, EventTooLong

payloads = st.lists(
    st.text(st.characters(exclude_characters="\r\n", exclude_categories=("Cs",)), min_size=1, max_size=30), max_size=6
)


@given(payloads, st.sampled_from(["\n", "\r\n", "\r"]), st.booleans(), st.booleans(), st.data())
def test_cuts_and_line_ends_do_not_matter(
    texts: list[str], newline: str, has_space: bool, has_comments: bool, data: st.DataObject
) -> None:
    lines = [
        (": keep-alive" + newline * 2 if has_comments else "")
        + ("data: " if has_space or text.startswith(" ") else "data:")
        + text
        + newline * 2
        for text in texts
    ]
    stream = "".join(lines).encode()
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=8)))
    decoder = EventDecoder()
    found: list[bytes] = []
    for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        found += decoder.feed(stream[start:end])
    found += decoder.flush()
    assert found == [text.encode() for text in texts]


@given(st.binary(max_size=400), st.lists(st.integers(0, 400), max_size=5))
def test_no_bytes_break_it(stream: bytes, cuts: list[int]) -> None:
    decoder = EventDecoder()
    found: list[bytes] = []
    edges = [0, *sorted(cut for cut in cuts if cut <= len(stream)), len(stream)]
    for start, end in pairwise(edges):
        found += decoder.feed(stream[start:end])
    found += decoder.flush()
    whole = EventDecoder()
    assert found == [*whole.feed(stream), *whole.flush()]


def test_several_data_lines_are_one_payload() -> None:
    assert EventDecoder().feed(b"event: x\ndata: a\nid: 1\ndata: b\n\n") == [b"a\nb"]


def test_a_line_of_json_without_a_field_is_a_payload() -> None:
    assert EventDecoder().feed(b'{"error_code":17}\n') == [b'{"error_code":17}']


def test_a_byte_order_mark_is_skipped() -> None:
    decoder = EventDecoder()
    assert decoder.feed(b"\xef") + decoder.feed(b"\xbb\xbfdata: a\n\n") == [b"a"]


def test_an_endless_line_is_refused() -> None:
    decoder = EventDecoder()
    with pytest.raises(EventTooLong):
        for _ in range(LINE_BYTES // 1000 + 2):
            decoder.feed(b"a" * 1000)


def test_an_endless_event_is_refused() -> None:
    decoder = EventDecoder()
    with pytest.raises(EventTooLong):
        for _ in range(LINE_BYTES // 1000 + 2):
            decoder.feed(b"data: " + b"a" * 1000 + b"\n")
