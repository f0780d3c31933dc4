"""A message of the log is one line, whatever a caller put into it."""

import io
import json
import logging
import sys

import pytest

from dujiang.telemetry.logging import JsonLines, Text

HOSTILE = {
    "a line end": "a\r\n00:00:00 error   forged",
    "a lone return": "a\rforged",
    "colours": "a\x1b[31mred\x1b[0m\x1b]0;title\x07",
    "Unicode's line ends": "a\u2028b\u2029c\x85d\x0be\x0cf",
    "a right-to-left override": "a\u202eb",
    "half a surrogate": "a\ud800b",
    "nothing visible": "\x00\x08\x7f",
}


def logged(formatter: logging.Formatter, message: str, **more: object) -> str:
    record = logging.LogRecord("dujiang.test", logging.ERROR, "", 0, "%s", (message,), None)
    record.__dict__ |= more
    return formatter.format(record)


@pytest.mark.parametrize("what", HOSTILE)
@pytest.mark.parametrize("form", [Text, JsonLines])
def test_no_message_makes_a_second_line(form: type[logging.Formatter], what: str) -> None:
    line = logged(form(), HOSTILE[what])
    assert len(line.splitlines()) == 1
    assert line.isprintable() or form is JsonLines
    assert "\x1b" not in line
    io.TextIOWrapper(io.BytesIO(), "utf-8").write(line)


def test_a_plain_message_stays_readable() -> None:
    assert logged(Text(), "日志被丢弃了 3 条").endswith("日志被丢弃了 3 条")
    assert json.loads(logged(JsonLines(), "日志"))["message"] == "日志"


def test_a_trace_of_hostile_text_forges_no_entry() -> None:
    try:
        raise ValueError(HOSTILE["a line end"])
    except ValueError:
        as_json, as_text = (logged(form(), "failed", exc_info=sys.exc_info()) for form in (JsonLines, Text))
    assert len(as_json.splitlines()) == 1
    assert not [line for line in as_text.splitlines()[1:] if not line.startswith("  ")]
    assert "forged" in as_text
