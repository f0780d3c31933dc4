"""Which schemas are taken: what can be held against any answer in bounded time, and nothing else."""

from itertools import pairwise

import pytest

from dujiang.scenes.contradictions import contradictions
from dujiang.scenes.output_rules import MAX_PARTS, parts_of, schema_problems
from dujiang.scenes.settings import SceneParameters, SceneSettings, VersionSettings

PERSON = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "title": "Person",
    "type": "object",
    "properties": {
        "name": {"type": "string", "minLength": 1, "maxLength": 40},
        "age": {"type": "integer", "minimum": 0},
        "home": {"$ref": "#/$defs/place"},
        "work": {"anyOf": [{"$ref": "#/$defs/place"}, {"type": "null"}]},
        "tags": {"type": "array", "items": {"enum": ["a", "b"]}, "maxItems": 5},
    },
    "required": ["name", "age"],
    "additionalProperties": False,
    "$defs": {"place": {"type": "object", "properties": {"city": {"type": "string"}}}},
}


def found(schema):
    return {problem.path: problem.message for problem in schema_problems(schema)}


@pytest.mark.parametrize(
    "schema",
    [
        {},
        {"type": ["string", "null"]},
        PERSON,
        {"oneOf": [{"const": 1}, {"const": {"pattern": "("}}], "not": {"type": "array"}},
        {"if": True, "then": {"minProperties": 1}, "else": False},
        {"prefixItems": [{}, {"format": "uri"}], "items": False, "contains": {}, "minContains": 0},
        {"dependentRequired": {"a": ["b"]}, "dependentSchemas": {"a": {"propertyNames": {"maxLength": 3}}}},
        {"properties": {"pattern": {"type": "string"}, "$ref": {"type": "string"}}, "definitions": {"$id": {}}},
        {"default": {"$ref": "http://elsewhere"}, "examples": [{"pattern": "("}], "$ref": "#/definitions/a b"}
        | {"definitions": {"a b": {}}},
    ],
)
def test_takes_what_is_sound(schema):
    assert found(schema) == {}


@pytest.mark.parametrize(
    ("schema", "path", "message"),
    [
        ({"type": "objekt"}, "type", "objekt"),
        ({"properties": {"a": {"minimum": "1"}}}, "properties.a.minimum", "not of type"),
        ({"required": "a"}, "required", "not of type"),
        ({"items": [{}]}, "items", "not of type"),
        ({"multipleOf": 0}, "multipleOf", "minimum of 0"),
        ({"minLenght": 1}, "minLenght", "is not taken"),
        ({"properties": {"a": {"pattern": "(a+)+$"}}}, "properties.a.pattern", "can take forever"),
        ({"patternProperties": {"(a+)+$": {}}}, "patternProperties", "can take forever"),
        ({"items": {"uniqueItems": True}}, "items.uniqueItems", "can take forever"),
        ({"unevaluatedProperties": False}, "unevaluatedProperties", "is not taken"),
        ({"$id": "http://a/b"}, '["$id"]', "is not taken"),
        ({"$dynamicRef": "#a"}, '["$dynamicRef"]', "is not taken"),
        ({"$schema": "http://json-schema.org/draft-04/schema#"}, '["$schema"]', "must be"),
        ({"$ref": "https://elsewhere.example/schema.json"}, '["$ref"]', "part of the same schema"),
        ({"$ref": "file:///etc/passwd"}, '["$ref"]', "part of the same schema"),
        ({"$ref": "#/$defs/nobody"}, '["$ref"]', "part of the same schema"),
        ({"$ref": "#/default", "default": {"pattern": "("}}, '["$ref"]', "part of the same schema"),
        ({"$ref": "#/$defs/a/default", "$defs": {"a": {"default": {"pattern": "("}}}}, '["$ref"]', "same schema"),
        ({"$ref": "#/$defs/a%2Fb", "$defs": {"a%2Fb": {}}}, '["$ref"]', "part of the same schema"),
        ({"$ref": 7}, '["$ref"]', "part of the same schema"),
        ({"$defs": {"a": {"pattern": "("}}}, '["$defs"].a.pattern', "can take forever"),
        ({"$ref": "#/$defs/a", "$defs": {"a": {"items": {"$ref": "#/$defs/a"}}}}, "", "holds itself"),
        ({"description": "x" * 70_000}, "", "is larger than 64 KiB"),
        ({"enum": list(range(MAX_PARTS))}, "", f"more than {MAX_PARTS} parts"),
    ],
)
def test_refuses_by_path(schema, path, message):
    problems = {key.replace('["$', "[$").replace('"]', "]"): text for key, text in found(schema).items()}
    wanted = path.replace('["$', "[$").replace('"]', "]")
    plain = {key.replace("[$", "$").replace("]", ""): text for key, text in problems.items()}
    assert message in plain[wanted.replace("[$", "$").replace("]", "")]


def test_refuses_what_would_grow_beyond_all_bounds():
    """Thirty definitions that each use the next one twice: a thousand million parts."""
    names = [f"d{n}" for n in range(30)]
    chain = {name: {"allOf": [{"$ref": f"#/$defs/{after}"}] * 2} for name, after in pairwise(names)}
    (message,) = found({"$ref": "#/$defs/d0", "$defs": {**chain, "d29": {}}}).values()
    assert "more than" in message


def test_refuses_what_is_nested_too_deep():
    schema = {}
    for _ in range(40):
        schema = {"items": schema}
    assert "nested" in found(schema)[""]


def test_counts_a_part_wherever_it_is_used():
    shared = {"$defs": {"a": {"properties": {"x": {}, "y": {}}}}}
    assert parts_of({}) == 1
    assert parts_of({"$ref": "#/$defs/a", **shared}) == 4
    assert parts_of({"allOf": [{"$ref": "#/$defs/a"}, {"$ref": "#/$defs/a"}], **shared}) == 9
    assert parts_of({"enum": [1, 2, 3]}) == 4


def test_the_document_names_the_place():
    version = VersionSettings(
        version=1, output_schema={"pattern": "a"}, parameters=SceneParameters(response_format={"type": "text"})
    )
    problems = {problem.path for problem in contradictions(SceneSettings(versions=(version,)))}
    assert problems == {"versions[0].output_schema.pattern", "versions[0].parameters.response_format"}
