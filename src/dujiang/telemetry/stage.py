"""The outermost stage: counts every call once, at its true end."""

from dujiang.core.call import Call
from dujiang.core.errors import AppError
from dujiang.core.protocols import Handler, Stage
from dujiang.core.reply import Reply
from dujiang.telemetry.metrics import Metrics


def observe(metrics: Metrics) -> Stage:
    """Count what a call came to: `ok`, `cancelled`, `cut`, or the code of its error."""

    def stage(handler: Handler) -> Handler:
        async def observed(call: Call) -> Reply:
            metrics.in_flight += 1
            try:
                reply = await handler(call)
            except BaseException as error:
                metrics.in_flight -= 1
                is_ours = isinstance(error, AppError)
                metrics.ended(call, error.code if is_ours else "cancelled", error.spent if is_ours else None)
                raise
            metrics.opened(call)

            def close(reply: Reply) -> None:
                metrics.in_flight -= 1
                outcome = "ok" if reply.is_complete else "cut" if reply.error else "cancelled"
                metrics.ended(call, outcome, reply.usage)

            reply.on_close(close)
            return reply

        return observed

    return stage
