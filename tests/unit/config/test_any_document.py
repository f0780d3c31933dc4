"""Properties of reading: whatever comes in, the answer is a document or its problems, each with its path."""

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import inspect

from dujiang.config.loader import read_document
from dujiang.config.problems import InvalidDocument
from dujiang.config.settings import Sections
from dujiang.config.tree import read_tree
from dujiang.core.problem import at

EXAMPLE = read_tree((Path(__file__).parents[3] / "docs" / "examples" / "dujiang.yaml").read_bytes(), "yaml")


def structs(value: Any, kind: Any, steps: tuple = ()) -> Iterator[tuple[tuple, frozenset[str]]]:
    """Every mapping of the example whose keys are fixed: the way to it, and those keys."""
    if isinstance(kind, inspect.Metadata):
        keys_of = (kind.extra or {}).get("keys_of")
        kind = inspect.type_info(keys_of) if keys_of else kind.type
    if isinstance(kind, inspect.UnionType):
        kind = next(each for each in kind.types if not isinstance(each, inspect.NoneType))
    if isinstance(kind, inspect.StructType):
        fields = {field.name: field.type for field in kind.fields}
        yield steps, frozenset(fields)
        for key, item in value.items():
            yield from structs(item, fields[key], (*steps, key))
    if isinstance(kind, inspect.DictType) and not isinstance(kind.value_type, inspect.AnyType):
        for key, item in value.items():
            yield from structs(item, kind.value_type, (*steps, key))
    if isinstance(kind, inspect.VarTupleType):
        for n, item in enumerate(value):
            yield from structs(item, kind.item_type, (*steps, n))


def nodes(value: Any, steps: tuple = ()) -> Iterator[tuple]:
    """The way to every value of the example but itself."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield (*steps, key)
        yield from nodes(item, (*steps, key))


def reach(tree: Any, steps: tuple) -> Any:
    for step in steps:
        tree = tree[step]
    return tree


STRUCTS = list(structs(EXAMPLE, inspect.type_info(Sections)))
NODES = list(nodes(EXAMPLE))
TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=9)
SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXTS
TREES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3), max_leaves=9
)
KEYS = st.text(min_size=1, max_size=90).filter(str.isprintable)


def as_json(tree: Any) -> bytes:
    return json.dumps(tree).encode()


def test_the_example_has_what_these_properties_need():
    assert len(STRUCTS) > 60
    assert ("models", "gpt-4", "targets", 1, "resilience", "timeouts") in [steps for steps, _ in STRUCTS]
    read_document(as_json(EXAMPLE))


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(STRUCTS), KEYS, TREES)
def test_every_unknown_key_is_refused_with_its_path(struct, key, value):
    steps, known = struct
    if key in known:
        return
    tree = copy.deepcopy(EXAMPLE)
    reach(tree, steps)[key] = value
    with pytest.raises(InvalidDocument) as refused:
        read_document(as_json(tree))
    path = ""
    for step in steps:
        path = at(path, step)
    (problem,) = refused.value.problems
    assert problem.path == at(path, key)
    assert problem.message.startswith("unknown key")


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(NODES), TREES)
def test_any_part_may_be_replaced_by_anything(steps, value):
    tree = copy.deepcopy(EXAMPLE)
    reach(tree, steps[:-1])[steps[-1]] = value
    try:
        read_document(as_json(tree), environ={})
    except InvalidDocument as refused:
        assert refused.problems


@settings(max_examples=100, deadline=None)
@given(st.sampled_from(NODES))
def test_any_part_may_be_missing(steps):
    tree = copy.deepcopy(EXAMPLE)
    parent = reach(tree, steps[:-1])
    del parent[steps[-1]]
    try:
        read_document(as_json(tree))
    except InvalidDocument as refused:
        assert refused.problems


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=60) | st.text(alphabet="{}[]:,-\"'\n &*!|>%@#ab1\t", max_size=60).map(str.encode))
def test_any_bytes_are_a_document_or_refused(text):
    try:
        read_document(text)
    except InvalidDocument as refused:
        assert refused.problems
