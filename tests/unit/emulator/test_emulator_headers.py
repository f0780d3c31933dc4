"""OpenAI's way of writing how long a limit takes to be full again."""

import pytest

from dujiang.emulator.openai.headers import duration


@pytest.mark.parametrize(
    ("seconds", "written"),
    [
        (0.0, "0ms"),
        (0.012, "12ms"),
        (0.9996, "1s"),
        (1, "1s"),
        (59.9996, "1m0s"),
        (90.25, "1m30.25s"),
        (3725, "1h2m5s"),
    ],
)
def test_duration(seconds, written):
    assert duration(seconds) == written
