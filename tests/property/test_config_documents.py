"""Documents that anybody may send: what is wrong is named by its path, and nothing but a sound one changes anything."""

import copy
import random
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import example, given

from dujiang.config.checked import Checked, check_tree, take_tree
from dujiang.config.entries import join, split
from dujiang.config.loader import rules
from dujiang.config.merge import merged, sharing
from dujiang.config.problems import InvalidDocument
from dujiang.config.settings import Sections
from dujiang.config.tree import read_tree
from dujiang.config.writing import write_tree
from dujiang.core.problem import at

Tree = dict[str, Any]

EXAMPLE = read_tree((Path(__file__).parents[2] / "docs" / "examples" / "dujiang.yaml").read_bytes(), "yaml")
RULES = rules(environ=dict.fromkeys(("OPENAI_API_KEY", "DEEPSEEK_API_KEY"), "sk-test"))
SECTIONS = Sections.__struct_fields__

texts = st.sampled_from(
    ["", "auto", "admin", "gpt-4", "***", "${HOME}", "${DUJIANG_SECRET_KEY}", "secret:x", "a b", "\x1b"]
)
leaves = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), texts)
values = st.recursive(
    leaves,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(texts, inner, max_size=3)),
    max_leaves=6,
)
names = st.text(min_size=1, max_size=12)


def places(tree: Any, here: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The way to every value of a tree."""
    found = [here] if here else []
    items = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for key, value in items:
        found += places(value, (*here, key))
    return found


@st.composite
def damaged(draw: st.DrawFn) -> Tree:
    """The example with a few values taken away, replaced, renamed, or given to others."""
    tree = copy.deepcopy(EXAMPLE)
    for _ in range(draw(st.integers(1, 4))):
        *way, last = draw(st.sampled_from(places(tree)))
        holder = tree
        for key in way:
            holder = holder[key]
        kind = draw(st.sampled_from(["gone", "other", "elsewhere", "renamed"]))
        if kind == "gone":
            del holder[last]
        elif kind == "other":
            holder[last] = draw(values)
        elif kind == "elsewhere":
            other = draw(st.sampled_from(places(tree)))
            value: Any = tree
            for key in other:
                value = value[key]
            holder[last] = copy.deepcopy(value)
        elif isinstance(holder, dict):
            holder[draw(names)] = holder.pop(last)
        if not tree:
            break
    return tree


def judge(tree: Tree, before: Checked | None) -> Checked | set[str]:
    """The sound document, or the paths of what is wrong."""
    try:
        return check_tree(tree, RULES, before)
    except InvalidDocument as invalid:
        return {problem.path for problem in invalid.problems}


@example({**EXAMPLE, "unknown": None})
@given(damaged())
def test_what_is_wrong_has_a_path_and_a_second_look_finds_the_same(tree: Tree) -> None:
    whole = judge(tree, None)
    if isinstance(whole, set):
        roots = tuple(at("", root) for root in (*SECTIONS, *tree))
        assert all(path.startswith(roots) for path in whole), whole
    before = check_tree(EXAMPLE, RULES)
    again = judge(sharing(copy.deepcopy(tree), EXAMPLE), before)
    if isinstance(whole, Checked):
        assert isinstance(again, Checked), again
        assert again.document == whole.document
    else:
        assert again == whole


@given(st.dictionaries(st.one_of(st.sampled_from(SECTIONS), names), values, max_size=4))
def test_nonsense_is_refused_by_path_or_sound(tree: Tree) -> None:
    found = judge(tree, None)
    assert isinstance(found, Checked) or (found and "" not in found)


@given(st.binary(max_size=60))
def test_bytes_are_a_tree_or_a_problem(text: bytes) -> None:
    for format in ("json", "yaml"):
        try:
            tree = read_tree(text, format)
        except InvalidDocument as invalid:
            assert invalid.problems
        else:
            assert isinstance(tree, dict)


@given(damaged())
def test_a_sound_document_comes_back_from_its_entries_and_from_yaml(tree: Tree) -> None:
    found = judge(tree, None)
    if isinstance(found, Checked):
        assert join(dict(split(found.tree))) == tree
        assert read_tree(write_tree(found.tree, "yaml").encode(), "yaml") == tree
        assert take_tree(found.tree, RULES).document == found.document


# merge patches

trees = st.dictionaries(names, values, max_size=4)
RFC_7396 = [
    ({"a": "b"}, {"a": "c"}, {"a": "c"}),
    ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
    ({"a": "b"}, {"a": None}, {}),
    ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
    ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
    ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
    ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
    ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
    ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
    ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
]
"""Those of its appendix A whose target and patch are objects: a document is one."""


@pytest.mark.parametrize(("tree", "patch", "result"), RFC_7396)
def test_the_examples_of_rfc_7396(tree: Tree, patch: Tree, result: Tree) -> None:
    assert merged(tree, patch) == result


def by_the_letter(target: Any, patch: Any) -> Any:
    """The pseudocode of RFC 7396, section 2."""
    if not isinstance(patch, dict):
        return patch
    result = dict(target) if isinstance(target, dict) else {}
    for name, value in patch.items():
        if value is None:
            result.pop(name, None)
        else:
            result[name] = by_the_letter(result.get(name), value)
    return result


@given(trees, trees)
def test_a_merge_patch_does_what_the_rfc_says_and_touches_nothing(tree: Tree, patch: Tree) -> None:
    kept = copy.deepcopy((tree, patch))
    made = merged(tree, patch)
    assert made == by_the_letter(tree, patch)
    assert (tree, patch) == kept
    assert merged(made, patch) is made
    assert all(made[name] is tree[name] for name in tree if name not in patch)
    assert merged(tree, {}) is tree


@given(damaged(), st.randoms())
def test_what_means_the_same_is_shared(tree: Tree, shuffle: random.Random) -> None:
    sections = list(copy.deepcopy(tree).items())
    shuffle.shuffle(sections)
    assert sharing(dict(sections), tree) is tree
    shared = sharing(tree, EXAMPLE)
    assert shared == tree
    assert all(shared[name] is EXAMPLE[name] for name in tree if tree[name] == EXAMPLE.get(name) and name == "scenes")
