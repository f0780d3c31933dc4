import pytest

from dujiang.config.loader import read_document
from dujiang.config.problems import InvalidDocument
from dujiang.config.scene_file import read_scene, write_scene

SCENE = {
    "description": "客服",
    "labels": {"production": {"1": 90, "2": 10}, "staging": 2},
    "apps": ["shop-*"],
    "versions": [
        {"version": 1, "system": "第一行\n第二行：{{company}}\n", "variables": {"company": {"default": "on"}}},
        {
            "version": 2,
            "messages": [{"role": "user", "content": "0613"}],
            "parameters": {"temperature": 0.2, "stop": ["a", "b"]},
            "locks": ["temperature"],
            "output_schema": {"type": "object", "properties": {"a": {"$ref": "#/$defs/x"}}, "$defs": {"x": {}}},
        },
    ],
}


@pytest.mark.parametrize("format", ["yaml", "json"])
def test_a_scene_comes_back_as_it_went(format):
    text = write_scene("shop", SCENE, format)
    assert read_scene(text.encode()) == ("shop", SCENE)
    assert read_scene(text.encode(), format) == ("shop", SCENE)


def test_its_file_is_a_document_and_is_readable():
    text = write_scene("shop", SCENE, "yaml")
    assert "    - version: 1\n      system: |\n        第一行\n        第二行：{{company}}\n" in text
    assert set(read_document(text.encode()).scenes) == {"shop"}


@pytest.mark.parametrize(
    ("text", "path", "message"),
    [
        ("", "scenes", "is missing"),
        ("scenes: {}", "scenes", "holds 0"),
        ("scenes: {a: {versions: [{version: 1}]}, b: {versions: [{version: 1}]}}", "scenes", "holds 2"),
        ("scenes: {a: {versions: [{version: 1}]}}\nroles: {}", "roles", "unknown key"),
        ("scenes: {a: {versions: [{version: 1}], labels: {production: 2}}}", "scenes.a.labels.production", "version 2"),
        ("scenes: {'../a': {versions: [{version: 1}]}}", "scenes.../a", "a name"),
    ],
)
def test_refuses_with_the_path(text, path, message):
    with pytest.raises(InvalidDocument) as refused:
        read_scene(text.encode())
    assert message in {problem.path: problem.message for problem in refused.value.problems}[path]
