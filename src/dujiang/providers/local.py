"""The embedded model as a provider. It runs in a child of our parent process and speaks the OpenAI format to us."""

import asyncio
from time import monotonic

from msgspec import Struct

from dujiang.core.call import Call
from dujiang.core.errors import Unavailable
from dujiang.core.protocols import Handler
from dujiang.core.reply import Reply
from dujiang.providers.connect import DirectDialer, Origin, request_head
from dujiang.providers.http import Pool
from dujiang.providers.openai_compatible import Clocks, OpenAICompatible
from dujiang.providers.presets import Preset

_RETRY_S = 0.1
_START_S = 20.0
_DIALECT = Preset(renames=(("max_completion_tokens", "max_tokens"),))


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


def open_embedded(embedded: Embedded, pool: Pool, clocks: Clocks) -> Handler:
    """A handler that asks the embedded model, and waits a while for one that is still loading."""
    head = request_head(
        embedded.origin,
        "/v1/chat/completions",
        {"Content-Type": "application/json", "Authorization": f"Bearer {embedded.api_key}"},
    )
    ask = OpenAICompatible(pool, head, embedded.api_key, embedded.model, clocks, _DIALECT)

    async def opened(call: Call) -> Reply:
        give_up = min(call.deadline, monotonic() + _START_S)
        while True:
            try:
                return await ask(call)
            except Unavailable as error:
                if error.reason not in ("connect", "503") or monotonic() + _RETRY_S > give_up:
                    raise
                await asyncio.sleep(_RETRY_S)

    return opened
