"""`dujiang models`: what a shell sees."""

import pytest
from typer.testing import CliRunner

from dujiang.cli.models import app
from dujiang.providers.embedded.registry import known_models

NAME = "smollm2-135m-instruct-q4_1"


@pytest.fixture
def run(tmp_path, monkeypatch):
    for name in ("DUJIANG_MODEL_FILE", "DUJIANG_MODEL_MIRROR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("DUJIANG_CACHE_DIR", str(tmp_path))
    return lambda *arguments: CliRunner().invoke(app, list(arguments))


def place(directory, model):
    with (directory / model.file).open("wb") as file:
        file.truncate(model.bytes)  # sparse: the size without the room
    (directory / f"{model.file}.sha256").write_text(f"{model.sha256}  {model.file}\n")


def test_a_placed_model_is_named_at_once(run, tmp_path):
    model = known_models()[NAME]
    place(tmp_path, model)
    result = run("pull", NAME)
    assert result.exit_code == 0
    assert result.stdout == f"{tmp_path / model.file}\n"


def test_an_unknown_model_is_one_line_and_no_trace(run):
    result = run("pull", "smollm2")
    assert result.exit_code == 1
    assert result.stderr.startswith("There is no embedded model named 'smollm2'")
    assert "Traceback" not in result.output


def test_the_list_shows_what_is_here(run, tmp_path):
    place(tmp_path, known_models()[NAME])
    result = run("list")
    lines = {line.split()[0]: line.split() for line in result.stdout.splitlines() if line.strip()}
    assert result.exit_code == 0
    assert lines[NAME][-1] == "yes"
    assert lines["qwen2.5-coder-0.5b-instruct-q4_k_m"][1:] == ["default", "491", "Apache-2.0"]
    assert lines.keys() == {"name", *known_models()}
