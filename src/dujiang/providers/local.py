"""The embedded model as a provider. It runs in a child of our parent process and speaks the OpenAI format to us."""

import asyncio
from time import monotonic

from msgspec import Struct
from msgspec.structs import replace

from dujiang.core.call import Call
from dujiang.core.chat import ChatRequest
from dujiang.core.errors import LimitExceeded, Unavailable
from dujiang.core.protocols import Handler
from dujiang.core.reply import Reply, WholeReply
from dujiang.providers.clocks import Clocks
from dujiang.providers.connect import DirectDialer, Origin, request_head
from dujiang.providers.http import Pool
from dujiang.providers.local_tools import constrain, read_tool_call
from dujiang.providers.openai_compatible import OpenAICompatible
from dujiang.providers.presets import Preset
from dujiang.providers.service import Endpoint, Service

MAX_AT_ONCE = 18
"""Calls that are answered (2 slots) or wait in the engine, which itself would queue without end."""

DEFAULT_MAX_TOKENS = 1024
"""Where the caller set no limit: without one the engine goes on to the end of its context, for minutes."""

_RETRY_S = 0.1
_START_S = 20.0
_PASSING = ("connect", "unavailable_error")
"""Why a model that is being started does not answer."""

_AT_ONCE_S = 0.5
"""A model that hangs up this soon was on its way up or down. Later, the call may have killed it: not repeated."""
_DIALECT = Preset(renames=(("max_completion_tokens", "max_tokens"),), drops=frozenset({"parallel_tool_calls"}))


class Embedded(Struct, frozen=True):
    """Where an embedded model listens on loopback, the key that only we know, and its proper name."""

    port: int
    api_key: str
    model: str

    @property
    def origin(self) -> Origin:
        return Origin("http", "127.0.0.1", self.port, allow_private_network=True)

    def pool(self) -> Pool:
        return Pool(DirectDialer(self.origin, None))


class EmbeddedModel:
    """Asks the embedded model. Calls wait a while for one that is still loading, or being restarted."""

    def __init__(self, embedded: Embedded, pool: Pool, clocks: Clocks) -> None:
        head = request_head(
            embedded.origin,
            "/v1/chat/completions",
            {"Content-Type": "application/json", "Authorization": f"Bearer {embedded.api_key}"},
        )
        self._ask: Handler = OpenAICompatible(pool, head, embedded.api_key, embedded.model, clocks, _DIALECT)
        self._in_flight = 0

    async def __call__(self, call: Call) -> Reply:
        if self._in_flight >= MAX_AT_ONCE:
            raise LimitExceeded(
                "The embedded model has too many calls waiting; try again later.", reason="queue", retry_after_s=5
            )
        asked = call.request
        self._in_flight += 1
        is_open = False
        try:
            call.request = _prepared(asked)
            reply = await self._open(call)
            is_open = True
        finally:
            call.request = asked
            if not is_open:
                self._in_flight -= 1
        reply.on_close(self._leave)
        return reply

    def _leave(self, _: Reply) -> None:
        self._in_flight -= 1

    async def _open(self, call: Call) -> Reply:
        give_up = min(call.deadline, monotonic() + _START_S)
        while True:
            began = monotonic()
            try:
                reply = await self._ask(call)
            except Unavailable as error:
                now = monotonic()
                is_passing = error.reason in _PASSING or (error.reason == "no_answer" and now - began < _AT_ONCE_S)
                if not is_passing or now + _RETRY_S > give_up:
                    raise
                await asyncio.sleep(_RETRY_S)
            else:
                return await _with_tools(reply, call.request) if call.request.tools else reply


def _prepared(asked: ChatRequest) -> ChatRequest:
    """What the engine is asked: with a limit, and with tools as a whole answer that a grammar may bind."""
    request = asked
    if request.max_tokens is None and request.max_completion_tokens is None:
        request = replace(request, max_tokens=DEFAULT_MAX_TOKENS)
    return replace(constrain(request), stream=False) if request.tools else request


async def _with_tools(reply: Reply, request: ChatRequest) -> Reply:
    try:
        chunk = await anext(reply)
    finally:
        reply.close()
    found = read_tool_call(chunk.text, request)
    if found is not None:
        chunk.text = ""
        chunk.tool_calls = [found]
        chunk.finish = "tool_calls"
    return WholeReply(chunk)


class EmbeddedService(Service):
    """The embedded model, which our parent process runs beside us."""

    def __init__(self, name: str, embedded: Embedded) -> None:
        super().__init__(name)
        self._embedded = embedded
        self._pool = embedded.pool()

    def endpoints(self, model: str, clocks: Clocks) -> tuple[Endpoint, ...]:
        return (Endpoint("", 1.0, EmbeddedModel(self._embedded, self._pool, clocks)),)

    def close(self) -> None:
        self._pool.close()
