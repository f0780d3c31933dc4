"""Gives management requests what every answer carries: an id, and the time we took."""

from collections.abc import Awaitable, Callable
from time import monotonic

from dujiang.api.request import Receive, Scope, Send
from dujiang.core.ids import new_id


class Identified:
    """Wraps an ASGI application: sets `request_id` in the scope and adds the two header fields to the response."""

    def __init__(self, app: Callable[[Scope, Receive, Send], Awaitable[None]]) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = monotonic()
        scope["request_id"] = id = new_id()

        async def send_identified(message: Scope) -> None:
            if message["type"] == "http.response.start":
                took_ms = (monotonic() - started) * 1000
                fields = [(b"x-request-id", id.encode()), (b"x-dujiang-overhead-ms", b"%.2f" % took_ms)]
                message["headers"] = [*message["headers"], *fields]
            await send(message)

        await self._app(scope, receive, send_identified)
