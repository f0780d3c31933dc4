"""One try at one target, and what is noted of it."""

from time import monotonic

from dujiang.core.call import Attempt, Call
from dujiang.core.errors import AppError, StreamBroken, UpstreamError
from dujiang.core.reply import Reply
from dujiang.resilience.model import foreseen_tokens
from dujiang.resilience.target import Entry, Target


def enter(call: Call, target: Target, *, is_last_resort: bool) -> Entry | None:
    """Have the target take the call, or not. What is taken is followed by `attempt`."""
    return target.enter(foreseen_tokens(call), is_last_resort=is_last_resort)


async def attempt(call: Call, target: Target, entry: Entry, why: str, waited_s: float) -> Reply:
    """Open the answer at a target that took the call, and note how it went. The target counts as busy until the reply
    is closed.
    """
    noted = Attempt(target.provider, target.name, target.credential, why, waited_s)
    call.attempts.append(noted)
    call.provider = target.provider
    began = monotonic()
    is_streamed = call.request.stream
    try:
        reply = await target.open(call)
    except BaseException as error:
        if isinstance(error, UpstreamError):
            target.failed(entry, error)
        else:
            target.told_nothing(entry)
        noted.error = error.code if isinstance(error, AppError) else None
        noted.total_s = monotonic() - began
        call.upstream_s += noted.total_s
        target.leave(entry, 0, None, began + noted.total_s)
        raise
    now = monotonic()
    noted.total_s = now - began
    call.upstream_s += noted.total_s
    if is_streamed:
        noted.first_token_s = noted.total_s
    target.opened(entry, noted.total_s, now, is_streamed=is_streamed)

    def leave(ended: Reply) -> None:
        now = monotonic()
        noted.total_s = now - began
        usage, error = ended.usage, ended.error
        if error is not None:
            noted.error = error.code
            if isinstance(error, StreamBroken):
                target.failed(entry, error)
        if usage is not None:
            noted.cost = target.price(usage)
        tokens = usage.prompt_tokens + usage.completion_tokens if usage is not None else 0
        answered_in_s = None if is_streamed or usage is None else noted.total_s
        target.leave(entry, tokens, answered_in_s, now)

    reply.on_close(leave)
    return reply
