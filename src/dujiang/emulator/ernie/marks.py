"""What both generations put on their answers: the request's id, the limits, the marks of the content check."""

from dujiang.core.ids import new_id
from dujiang.emulator.dialect import Allowance
from dujiang.emulator.draft import Draft

NO_MORE_CHAT = 2
"""The `flag` of an answer that may be shown, but after which the conversation must not go on."""

THIS_ROUND = -1
"""The `ban_round` that means the question itself, and not an earlier one."""

_TOKENS_A_MINUTE = 300_000


def headers(allowance: Allowance) -> bytes:
    """Complete lines, ready to be written. `allowance` counts requests; tokens never run out here."""
    return (
        f"X-Baidu-Request-Id: {new_id()}\r\n"
        f"X-Ratelimit-Limit-Requests: {allowance.limit}\r\nX-Ratelimit-Remaining-Requests: {allowance.remaining}\r\n"
        f"X-Ratelimit-Limit-Tokens: {_TOKENS_A_MINUTE}\r\nX-Ratelimit-Remaining-Tokens: {_TOKENS_A_MINUTE}\r\n"
    ).encode()


def new_reply_id() -> str:
    return _short(new_id())


def reply_id(draft: Draft) -> str:
    """The id of an answer, the same in every piece of it."""
    return _short(draft.id)


def _short(text: str) -> str:
    return f"as-{text[-10:]}"
