"""What is written reads as the same, in both formats."""

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from dujiang.config.tree import read_tree
from dujiang.config.writing import write_tree

ODD = (
    *("on", "0613", "1e3", "12:30", "null", "~", "", "{{x}}", "a: b", "# c", " lead", "tail ", "\n", "a\n\nb\n"),
    *("\u2028", "a\r\nb", "\ufeff", "- a", "---", "...", "! x", "&a", "*a", "0o17", "0x1f", "1_000", ".5", "\t"),
    *("a \nb", "\x85\n", "\n\u2029", "E0"),
)
TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])) | st.sampled_from(ODD)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**17), 10**17) | st.floats(-1e15, 1e15) | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=12,
)


@pytest.mark.parametrize("format", ["yaml", "json"])
@settings(deadline=None)
@given(tree=st.dictionaries(TEXT, VALUES, max_size=4))
@example(tree={"a": {"1": 90, "2": 10.0}, "system": "第一行\n  第二行 {{name}}\n", "x" * 200: []})
def test_reads_as_it_was_written(format, tree):
    assert read_tree(write_tree(tree, format).encode(), format) == tree
