"""Bodies of management requests stay within the limit, whichever route reads them."""

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from dujiang.api.request import Receive, Scope, Send, too_large


class Bounded:
    """Wraps an ASGI application: where it reads a body larger than `limit_bytes`, `BodyTooLarge` is raised, from the
    declared length already. A body that nobody reads does not matter.
    """

    def __init__(self, app: Callable[[Scope, Receive, Send], Awaitable[None]], limit_bytes: int) -> None:
        self._app = app
        self._limit_bytes = limit_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        size, declared = 0, _declared_bytes(scope)

        async def receive_bounded() -> MutableMapping[str, Any]:
            nonlocal size
            if declared > self._limit_bytes:
                raise too_large(self._limit_bytes)
            message = await receive()
            size += len(message.get("body", b""))
            if size > self._limit_bytes:
                raise too_large(self._limit_bytes)
            return message

        await self._app(scope, receive_bounded, send)


def _declared_bytes(scope: Scope) -> int:
    """0 where nothing, or nonsense, is declared."""
    lengths = (value for name, value in scope.get("headers", ()) if name == b"content-length")
    return max((int(value) for value in lengths if value.isdigit()), default=0)
