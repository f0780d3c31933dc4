"""Values made for JSON Schemas, and text cut into tokens."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dujiang.emulator import text
from dujiang.emulator.sample import BadSchema, sample


@pytest.mark.parametrize(
    ("schema", "expected"),
    [
        ({"type": "string", "maxLength": 2}, "模拟"),
        ({"type": "integer", "minimum": 3}, 3),
        ({"type": "integer", "exclusiveMinimum": 3}, 4),
        ({"type": "integer", "maximum": -2}, -2),
        ({"type": "number", "minimum": 7, "multipleOf": 5}, 10),
        ({"type": "boolean"}, True),
        ({"type": ["null", "integer"]}, 1),
        ({"enum": ["b", "a"]}, "b"),
        ({"const": 7}, 7),
        ({"anyOf": [{"type": "null"}, {"type": "string"}]}, None),
        ({"type": "array", "items": {"type": "integer"}, "minItems": 2}, [1, 1]),
        ({"type": "array", "maxItems": 0}, []),
        ({"type": "string", "format": "date"}, "2026-01-31"),
        (
            {
                "type": "object",
                "properties": {"city": {"$ref": "#/$defs/City"}, "days": {"type": "integer"}},
                "required": ["city"],
                "$defs": {"City": {"type": "string", "enum": ["成都"]}},
            },
            {"city": "成都"},
        ),
        ({"allOf": [{"properties": {"a": {"const": 1}}}, {"properties": {"b": {"const": 2}}}]}, {"a": 1, "b": 2}),
    ],
)
def test_sample(schema, expected):
    assert sample(schema) == expected


def test_recursion_ends():
    node = {
        "type": "object",
        "properties": {"child": {"anyOf": [{"$ref": "#"}, {"type": "null"}]}, "name": {"type": "string"}},
        "required": ["child", "name"],
    }
    depth, value = 0, sample(node)
    while value is not None:
        depth, value = depth + 1, value["child"]
    assert depth < 10


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "object", "required": ["a", "b"], "properties": {"a": {"$ref": "#"}, "b": {"$ref": "#"}}},
        {"type": "array", "minItems": 10**9, "items": {"type": "array", "minItems": 10**9}},
        {"type": "object", "required": 5},
        {"type": "string", "minLength": "x"},
        {"enum": 5},
    ],
)
def test_bad_schemas_are_refused(schema):
    with pytest.raises(BadSchema):
        sample(schema)


_keywords = st.sampled_from(
    ["type", "properties", "required", "items", "anyOf", "allOf", "$ref", "enum", "minimum", "minItems", "prefixItems"]
)
_json = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.text(max_size=5)),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_keywords, inner, max_size=4),
    max_leaves=12,
)


@given(st.dictionaries(_keywords, _json, max_size=5))
def test_any_object_is_sampled_or_refused(schema):
    with suppress(BadSchema):
        sample(schema)


@given(st.text(max_size=60), st.integers(1, 20))
def test_tokens_lose_nothing(words, number):
    found = text.tokens(words)
    assert "".join(found) == words
    assert len(found) == text.count(words)
    assert "".join(text.pieces(found, number)) == words


@pytest.mark.parametrize("number", [1, 2, 8, 100, 1000])
def test_as_many_pieces_as_asked(number):
    words = text.emulated("m", number)
    cut = text.pieces(words, number)
    assert len(cut) == number
    assert all(cut)
