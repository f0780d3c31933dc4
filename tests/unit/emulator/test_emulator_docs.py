"""The page on the emulator names all that its script understands, and nothing else."""

import re
from pathlib import Path

import pytest

from dujiang.emulator.behaviour import forms
from dujiang.emulator.ernie.v1 import failures as v1
from dujiang.emulator.ernie.v1 import oauth
from dujiang.emulator.ernie.v2 import failures as v2
from dujiang.emulator.openai import failures as openai

PAGE = (Path(__file__).parents[3] / "docs" / "emulator.md").read_text(encoding="utf-8")
ERRORS = PAGE.partition("## Errors")[2]


def test_every_behaviour_is_documented():
    rows = re.findall(r"^\| `([^`]+)` \|", PAGE, re.MULTILINE)
    assert sorted(rows) == sorted(forms())


@pytest.mark.parametrize(
    ("row", "names"),
    [
        ("OpenAI|vLLM|Ollama", openai.FAILURES),
        ("ERNIE V1, in HTTP 200", v1.FAILURES),
        ("ERNIE token", oauth.FAILURES),
        ("Qianfan V2", v2.FAILURES),
    ],
)
def test_every_error_is_documented(row, names):
    rows = re.findall(rf"^\| (?:{row}).*$", ERRORS, re.MULTILINE)
    assert {name for found in rows for name in re.findall(r"`([^`]+)`", found)} == set(names)
