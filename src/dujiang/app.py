"""The ASGI application: data-plane paths straight to their endpoints, everything else to the management application."""

from dujiang.api import health, in_flight, metrics, seen_targets
from dujiang.api.bounded import Bounded
from dujiang.api.chat import ChatEndpoint
from dujiang.api.identified import Identified
from dujiang.api.management import create_management
from dujiang.api.request import Receive, Scope, Send
from dujiang.api.wire import native, openai
from dujiang.runtime import Runtime


class Application:
    """Looks the path up in a dictionary. No framework touches a chat call."""

    def __init__(self, runtime: Runtime) -> None:
        self._endpoints = {
            "/api/v1/chat/completions": ChatEndpoint(runtime, native, "chat"),
            "/v1/chat/completions": ChatEndpoint(runtime, openai, "openai_chat"),
        }
        for module in (health, in_flight, metrics, seen_targets):
            module.answer_siblings(runtime)
        self._management = Identified(Bounded(create_management(runtime), runtime.body_limit_bytes))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        endpoint = self._endpoints.get(scope.get("path", ""))
        if endpoint is not None and scope["type"] == "http":
            await endpoint(scope, receive, send)
        else:
            await self._management(scope, receive, send)
