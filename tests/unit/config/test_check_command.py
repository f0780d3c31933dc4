from pathlib import Path

import typer
from typer.testing import CliRunner

from dujiang.cli.check import check

ROOT = Path(__file__).parents[3]

app = typer.Typer()
app.command()(check)


def run(*arguments: str, env=None):
    return CliRunner().invoke(app, arguments, env=env)


def test_a_sound_document_is_ok_with_what_is_doubtful():
    result = run(str(ROOT / "docs" / "examples" / "dujiang.yaml"), env={"OPENAI_API_KEY": "sk-hidden"})
    assert result.exit_code == 0
    assert "OK" in result.output
    assert "6 models" in result.output
    assert "models.ernie-4.0: cannot be called" in result.output
    assert "\n  cache\n" in result.output
    assert "sk-hidden" not in result.output


def test_prints_every_problem_and_fails(tmp_path):
    file = tmp_path / "bad.yaml"
    file.write_text("providers: {p: {kind: opnai}}\nmodles: {}\naliases: {a: b}\n")
    result = run(str(file))
    assert result.exit_code == 1
    assert "providers.p.kind: there is no kind `opnai`; did you mean `openai`?" in result.output
    assert "modles: unknown key `modles`; did you mean `models`?" in result.output
    assert "aliases.a: there is no model `b`" in result.output
    assert "3 problems" in result.output


def test_never_prints_a_secret(tmp_path):
    file = tmp_path / "bad.json"
    file.write_text(
        '{"providers": {"p": {"kind": "deepseek", "credentials": [{"name": "a", "secret": "sk-hidden "}]}}}'
    )
    result = run(str(file))
    assert result.exit_code == 1
    assert "providers.p.credentials[0].secret" in result.output
    assert "sk-hidden" not in result.output


def test_a_file_that_is_not_there_is_a_problem(tmp_path):
    result = run(str(tmp_path / "none.yaml"))
    assert result.exit_code == 1
    assert "No such file" in result.output


def test_references_are_resolved_in_this_environment(tmp_path):
    file = tmp_path / "d.yaml"
    file.write_text("providers: {p: {kind: deepseek, credentials: [{name: a, secret: '${MY_KEY}'}]}}")
    assert run(str(file), env={"MY_KEY": "sk-1"}).exit_code == 0
    assert run(str(file), env={"MY_KEY": None}).exit_code == 1
