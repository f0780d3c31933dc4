"""The pipeline, read top to bottom."""

from collections.abc import Awaitable, Iterable
from time import monotonic

from dujiang.core.call import Call
from dujiang.core.protocols import Handler, Stage
from dujiang.core.reply import Reply


def compose(stages: Iterable[Stage], handler: Handler) -> Handler:
    """Wrap a handler in stages; the first stage sees a call first and its end last."""
    for stage in reversed(tuple(stages)):
        handler = stage(handler)
    return handler


def parse() -> Stage:
    """Understand the body. Within the pipeline, so that a body which does not parse is observed like any call."""

    def stage(handler: Handler) -> Handler:
        def parsed(call: Call) -> Awaitable[Reply]:
            asked = call.parse(call.body)
            call.parsed = asked
            call.request = asked.request
            if asked.request_id is not None:
                call.request_id = asked.request_id
            if asked.timeout_s is not None:
                call.deadline = min(call.deadline, monotonic() + asked.timeout_s)
            call.body = b""
            return handler(call)

        return parsed

    return stage
