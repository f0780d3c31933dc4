import pytest

from dujiang.core.chat import Message
from dujiang.core.errors import Unprocessable
from dujiang.scenes.compiled import compile_version
from dujiang.scenes.preview import preview
from dujiang.scenes.settings import SceneMessage, VariableSettings, VersionSettings

VERSION = compile_version(
    VersionSettings(
        version=1,
        system="Speak {{language}}.",
        messages=(SceneMessage("user", "Who?"), SceneMessage("assistant", "{{name}}")),
        variables={"language": VariableSettings(default="中文"), "name": VariableSettings(max_length=9)},
    )
)


def test_shows_what_a_model_would_be_told():
    assert preview(VERSION, {"name": "{{x}}"}, "hi {{name}}") == [
        Message("system", "Speak 中文."),
        Message("user", "Who?"),
        Message("assistant", "{{x}}"),
        Message("user", "hi {{name}}"),
    ]


def test_shows_the_scene_alone_without_a_prompt():
    assert [message.role for message in preview(VERSION, {"name": "a"})] == ["system", "user", "assistant"]


def test_refuses_as_a_call_would():
    for variables in ({}, {"name": 1}, {"name": "0123456789"}, {"name": "a", "other": "b"}):
        with pytest.raises(Unprocessable):
            preview(VERSION, variables)


def test_shows_a_schema_in_words():
    version = compile_version(VersionSettings(version=1, output_schema={"type": "null"}))
    (message,) = preview(version, {})
    assert (message.role, str(message.content).endswith('{"type":"null"}')) == ("system", True)
