"""The header lines of OpenAI's answers: the request id, and what is left of the limits."""

from functools import lru_cache

from dujiang.core.ids import new_id
from dujiang.emulator.dialect import Allowance

FULL_TOKENS = Allowance(limit=2_000_000, remaining=1_999_000, reset_s=0.03)


def headers(requests: Allowance, tokens: Allowance = FULL_TOKENS) -> bytes:
    """Complete lines, ready to be written."""
    return b"x-request-id: req_%b\r\n%b" % (new_id().replace("-", "").encode(), _limits(requests, tokens))


@lru_cache(maxsize=1024)
def _limits(requests: Allowance, tokens: Allowance) -> bytes:
    return (
        "openai-version: 2020-10-01\r\nopenai-organization: emulated\r\nopenai-processing-ms: 1\r\n"
        f"x-ratelimit-limit-requests: {requests.limit}\r\nx-ratelimit-limit-tokens: {tokens.limit}\r\n"
        f"x-ratelimit-remaining-requests: {requests.remaining}\r\nx-ratelimit-remaining-tokens: {tokens.remaining}\r\n"
        f"x-ratelimit-reset-requests: {duration(requests.reset_s)}\r\n"
        f"x-ratelimit-reset-tokens: {duration(tokens.reset_s)}\r\n"
    ).encode()


def duration(seconds: float) -> str:
    """Seconds in the form of Go's durations, as OpenAI writes them: `12ms`, `1s`, `6m0s`."""
    milliseconds = round(seconds * 1000)
    if milliseconds < 1000:
        return f"{milliseconds}ms"
    minutes, rest = divmod(milliseconds, 60_000)
    hours, minutes = divmod(minutes, 60)
    shown = f"{rest / 1000:g}s"
    return f"{hours}h{minutes}m{shown}" if hours else f"{minutes}m{shown}" if minutes else shown
