"""The pipeline, read top to bottom."""

from collections.abc import Awaitable, Iterable
from time import monotonic

import msgspec

from dujiang.core.call import Call
from dujiang.core.chat import Chunk
from dujiang.core.errors import AppError
from dujiang.core.protocols import Handler, Stage
from dujiang.core.reply import Reply, WholeReply


class _Echo(msgspec.Struct):
    request_id: str


_read_echo = msgspec.json.Decoder(_Echo).decode


def compose(stages: Iterable[Stage], handler: Handler) -> Handler:
    """Wrap a handler in stages; the first stage sees a call first and its end last."""
    for stage in reversed(tuple(stages)):
        handler = stage(handler)
    return handler


def parse() -> Stage:
    """Understand the body. Within the pipeline, so that a body which does not parse is observed like any call: under
    the caller's own id, where that much can be read.
    """

    def stage(handler: Handler) -> Handler:
        def parsed(call: Call) -> Awaitable[Reply]:
            try:
                asked = call.parse(call.body)
            except AppError:
                call.request_id = echoed(call.body) or call.request_id
                raise
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


async def plan_only(call: Call) -> Reply:
    """The innermost handler of a pipeline that makes no call: an empty answer to one that is planned now."""
    return WholeReply(Chunk())


def echoed(body: bytes) -> str | None:
    """The caller's id out of a body that did not parse otherwise, if it is a proper one."""
    try:
        found = _read_echo(body).request_id
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    return found if 0 < len(found) <= 200 and found.isprintable() else None
