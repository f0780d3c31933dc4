"""The page on the emulator names all that its script understands, and nothing else."""

import re
from pathlib import Path

from dujiang.emulator.behaviour import forms
from dujiang.emulator.openai.failures import FAILURES

PAGE = (Path(__file__).parents[3] / "docs" / "emulator.md").read_text(encoding="utf-8")


def test_every_behaviour_is_documented():
    rows = re.findall(r"^\| `([^`]+)` \|", PAGE, re.MULTILINE)
    assert sorted(rows) == sorted(forms())


def test_every_error_is_documented():
    names = [name for row in re.findall(r"^\| (?:OpenAI|vLLM|Ollama).*$", PAGE, re.MULTILINE) for name in _quoted(row)]
    assert sorted(names) == sorted(FAILURES)


def _quoted(row: str) -> list[str]:
    return re.findall(r"`([^`]+)`", row)
