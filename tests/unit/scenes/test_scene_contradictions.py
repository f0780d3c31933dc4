from typing import get_args

import pytest

from dujiang.config.loader import read_document
from dujiang.config.problems import InvalidDocument
from dujiang.scenes.contradictions import contradictions
from dujiang.scenes.settings import ParameterName, SceneParameters, SceneSettings, VariableSettings, VersionSettings


def found(**variable):
    version = VersionSettings(version=1, system="{{x}}", variables={"x": VariableSettings(**variable)})
    return {problem.path: problem.message for problem in contradictions(SceneSettings(versions=(version,)))}


@pytest.mark.parametrize(
    ("variable", "key", "message"),
    [
        ({"default": 1}, "default", "must be a string"),
        ({"type": "integer", "default": "1"}, "default", "must be an integer"),
        ({"type": "integer", "default": True}, "default", "must be an integer"),
        ({"type": "number", "default": 1, "minimum": 2}, "default", "must be at least 2"),
        ({"type": "number", "minimum": 2, "maximum": 1}, "minimum", "must not be more than `maximum`"),
        ({"minimum": 1}, "minimum", "means nothing for type `string`"),
        ({"type": "boolean", "max_length": 1}, "max_length", "means nothing for type `boolean`"),
        ({"enum": ("a", 1)}, "enum[1]", "must be "),
        ({"enum": ("a",), "default": "b"}, "default", "must be one of `a`"),
        ({"max_length": 1, "default": "ab"}, "default", "must be at most 1 characters long"),
    ],
)
def test_a_variable_must_take_its_own_values(variable, key, message):
    problems = found(**variable)
    assert message in problems[f"versions[0].variables.x.{key}"]


@pytest.mark.parametrize(
    "variable",
    [
        {},
        {"default": ""},
        {"type": "integer", "minimum": 5, "maximum": 500, "default": 50},
        {"type": "number", "default": 1},
        {"type": "boolean", "default": False},
        {"type": "integer", "enum": (1, 2), "default": 2},
    ],
)
def test_sound_variables_are_sound(variable):
    assert found(**variable) == {}


def test_texts_must_fit_with_their_defaults():
    version = VersionSettings(
        version=1, system="{{x}}" * 2000, variables={"x": VariableSettings(default="a" * 1000), "y": VariableSettings()}
    )
    (problem,) = contradictions(SceneSettings(versions=(version,)))
    assert (problem.path, problem.message) == ("versions[0]", "the texts grow beyond 1048576 bytes")


@pytest.mark.parametrize(
    ("labels", "path", "message"),
    [
        ({"production": 3}, "labels.production", "there is no version 3"),
        ({"production": {}}, "labels.production", "must have 1 to 16 versions"),
        ({"production": {str(n): 1 for n in range(1, 18)}}, "labels.production", "must have 1 to 16 versions"),
        ({"production": {"1": 90, "3": 10}}, "labels.production.3", "there is no version 3"),
        ({"2nd": {"1": 1}}, "labels.2nd", "must not start with a digit"),
    ],
)
def test_labels_lead_to_versions(labels, path, message):
    versions = (VersionSettings(version=1), VersionSettings(version=2))
    problems = {each.path: each.message for each in contradictions(SceneSettings(versions=versions, labels=labels))}
    assert message in problems[path]


@pytest.mark.parametrize(
    ("scene", "path"),
    [
        ("labels: {production: {1: 90}}", "scenes.s.labels.production"),
        ('labels: {production: {"01": 90}}', "scenes.s.labels.production.01"),
        ('labels: {production: {"1": 0}}', "scenes.s.labels.production.1"),
        ("labels: {production: [1]}", "scenes.s.labels.production"),
        ("labels: {production: 0}", "scenes.s.labels.production"),
        ("roles: [nobody]", "scenes.s.roles[0]"),
        ("apps: ['a*b']", "scenes.s.apps[0]"),
    ],
)
def test_the_document_names_the_path(scene, path):
    with pytest.raises(InvalidDocument) as refused:
        read_document(f"scenes: {{s: {{versions: [{{version: 1}}], {scene}}}}}".encode())
    assert path in {problem.path for problem in refused.value.problems}


def test_every_parameter_can_be_locked_and_nothing_else():
    assert set(get_args(ParameterName)) == set(SceneParameters.__struct_fields__)
    with pytest.raises(InvalidDocument, match=r"versions\[0\].locks\[0\]"):
        read_document(b"scenes: {s: {versions: [{version: 1, locks: [model]}]}}")
