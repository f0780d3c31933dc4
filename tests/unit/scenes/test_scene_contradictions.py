import pytest

from dujiang.scenes.contradictions import contradictions
from dujiang.scenes.settings import SceneSettings, VariableSettings, VersionSettings


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
