"""One try at one target, and what is noted of it."""

from time import monotonic

from dujiang.core.call import Attempt, Call
from dujiang.core.errors import AppError, StreamBroken, Timeout, UpstreamError
from dujiang.core.reply import Reply
from dujiang.resilience.target import Entry, Target


async def attempt(call: Call, target: Target, entry: Entry, noted: Attempt) -> Reply:
    """Open the answer at a target that took the call, and note how it went. The target counts as busy until the reply
    is closed.
    """
    call.attempts.append(noted)
    call.provider = target.provider
    began = monotonic()
    is_streamed = call.request.stream
    try:
        reply = await target.open(call)
    except BaseException as error:
        now = monotonic()
        noted.total_s = now - began
        noted.error = error.code if isinstance(error, AppError) else None
        call.upstream_s += noted.total_s
        if isinstance(error, UpstreamError) and _is_to_blame(target, error, call, began, now):
            target.failed(entry, error)
        else:
            target.told_nothing(entry)
        target.leave(entry, 0, None, now)
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
            if isinstance(error, UpstreamError) and _is_to_blame(target, error, call, began, now):
                target.failed(entry, error)
        if usage is not None:
            noted.cost = target.price(usage)
        tokens = usage.prompt_tokens + usage.completion_tokens if usage is not None else 0
        answered_in_s = None if is_streamed or usage is None else noted.total_s
        target.leave(entry, tokens, answered_in_s, now)

    reply.on_close(leave)
    return reply


def _is_to_blame(target: Target, error: UpstreamError, call: Call, began: float, now: float) -> bool:
    """Not where the time that the caller gave was over before the target's own would have been: else whoever asks for
    answers in no time could have a target taken for ill.
    """
    if now < call.deadline or not isinstance(error, Timeout | StreamBroken):
        return True
    return target.is_slow(now - began, is_streamed=call.request.stream)
