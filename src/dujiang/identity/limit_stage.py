"""The stage that lets a call in where all its counters allow it, and gives back what it holds at its true end."""

from collections.abc import Awaitable

from dujiang.core.call import Call
from dujiang.core.chat import ChatRequest, Usage
from dujiang.core.errors import AppError, LimitExceeded
from dujiang.core.limits import Bound, Refusal
from dujiang.core.protocols import Handler, Stage
from dujiang.core.reply import Reply
from dujiang.identity.counters import Counters
from dujiang.storage.store import Store

BYTES_PER_TOKEN = 4
"""Of a body, roughly: what is counted in advance is corrected at the end by what was used."""

_UNITS = {"requests": "requests per minute", "tokens": "tokens per minute", "concurrency": "calls at once"}


def limit(store: Store, counters: Counters) -> Stage:
    """Sets `call.permit`. Raises `LimitExceeded`, saying which limit of whom, and when to try again."""

    def stage(handler: Handler) -> Handler:
        def limited(call: Call) -> Awaitable[Reply]:
            bounds = counters.bounds(call.caller, call.rights, call.parsed.user)
            return admitted(call, bounds) if bounds else handler(call)

        async def admitted(call: Call, bounds: tuple[Bound, ...]) -> Reply:
            permit = await store.admit(bounds, _foreseen_tokens(call))
            if isinstance(permit, Refusal):
                raise refused(permit)
            call.permit = permit
            try:
                reply = await handler(call)
            except BaseException as error:
                store.leave(permit, _tokens(error.spent) if isinstance(error, AppError) else 0)
                raise
            reply.on_close(lambda ended: store.leave(permit, _tokens(ended.usage)))
            return reply

        return limited

    return stage


def refused(refusal: Refusal) -> LimitExceeded:
    """The error for a call that a counter does not let in."""
    name, subject = refusal.name, refusal.bound.subject
    wait_s = refusal.retry_after_s
    error = LimitExceeded(
        f"`{subject}` may have {refusal.limit} {_UNITS[name]}, and has them: try again in {wait_s:.1f} s.",
        reason="rate" if name == "requests" else name,
        retry_after_s=wait_s,
    )
    error.refusal = refusal
    return error


def _foreseen_tokens(call: Call) -> int:
    return call.request_bytes // BYTES_PER_TOKEN + _asked_tokens(call.parsed.request)


def _asked_tokens(request: ChatRequest) -> int:
    return max(request.max_tokens or 0, request.max_completion_tokens or 0)


def _tokens(usage: Usage | None) -> int:
    return usage.prompt_tokens + usage.completion_tokens if usage is not None else 0
