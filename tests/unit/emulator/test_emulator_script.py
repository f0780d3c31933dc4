"""Which behaviour a call gets, and which script files are refused."""

import pytest

from dujiang.emulator.behaviour import BadBehaviour, Behaviour
from dujiang.emulator.openai import OpenAiDialect
from dujiang.emulator.script import BadScript, Script, load

ERRORS = OpenAiDialect.errors


def choose(script, model, header=None):
    return script.choose(model, header, ERRORS)


def test_precedence():
    script = Script(ERRORS, {"status=500": "latency=1", "m": "latency=2"})
    assert choose(script, "other") == Behaviour()
    assert choose(script, "status=501").status == 501
    assert choose(script, "status=500").latency_ms == 1
    script.set_default("m", "latency=3")
    assert choose(script, "m").latency_ms == 3
    assert choose(script, "m", b"latency=4").latency_ms == 4
    script.set_default("m", None)
    assert choose(script, "m").latency_ms == 2
    script.set_default("status=500", "ok")
    assert choose(script, "status=500") == Behaviour()
    assert script.models == ["m", "status=500"]


def test_bad_scripts_are_refused():
    with pytest.raises(BadBehaviour):
        Script(ERRORS, {"m": "nonsense"})
    script = Script(ERRORS)
    with pytest.raises(BadBehaviour):
        script.set_default("m", "error=nonsense")
    with pytest.raises(BadBehaviour):
        choose(script, "m", b"\xff")
    foreign = Script(ERRORS | {"336100"}, {"m": "error=336100"})
    with pytest.raises(BadBehaviour):
        choose(foreign, "m")


@pytest.mark.parametrize("content", ['{"gpt-4": "status=500;latency=5"}', "gpt-4: status=500;latency=5\n"])
def test_files_are_yaml_or_json(tmp_path, content):
    path = tmp_path / "script"
    path.write_text(content)
    assert load(path) == {"gpt-4": "status=500;latency=5"}


@pytest.mark.parametrize("content", ["[1]", "a: [b]", "a: {b: c}", "{", "\x00", "a: 5", "x" * 2_000_000])
def test_bad_files_are_refused(tmp_path, content):
    path = tmp_path / "script"
    path.write_text(content)
    with pytest.raises(BadScript):
        load(path)


def test_missing_file_is_refused(tmp_path):
    with pytest.raises(BadScript):
        load(tmp_path / "none")
