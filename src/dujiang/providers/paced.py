"""Streams that have to come fast enough, where that is set."""

from collections import deque

from dujiang.core.chat import Chunk
from dujiang.providers.clocks import Clocks
from dujiang.providers.http import Exchange, monotonic
from dujiang.providers.streamed import EventReader, StreamedReply
from dujiang.providers.usage import estimate_tokens

WINDOW_S = 10.0


class Pace:
    """The tokens of the last `WINDOW_S` seconds, of which there must be `min_tokens_per_s` on average.

    Seconds are those that were spent waiting for the service: a caller who reads slowly makes nobody slow. The first
    window begins with the first token.
    """

    __slots__ = ("_arrivals", "_needed", "_now_s", "_tokens")

    def __init__(self, min_tokens_per_s: float) -> None:
        self._needed = min_tokens_per_s * WINDOW_S
        self._arrivals: deque[tuple[float, int]] = deque()
        self._tokens = 0
        self._now_s = 0.0

    def take(self, waited_s: float, tokens: int) -> float:
        """So many tokens came, after so many more seconds. For how many more they will do, if no others come."""
        arrivals = self._arrivals
        if arrivals:
            self._now_s += waited_s
        arrivals.append((self._now_s, tokens))
        self._tokens += tokens
        while self._tokens - arrivals[0][1] >= self._needed:
            self._tokens -= arrivals.popleft()[1]
        return arrivals[0][0] + WINDOW_S - self._now_s


class PacedReply(StreamedReply):
    """A streamed reply that breaks where its tokens fall behind a pace, as where the next one does not come at all.

    They are counted as where a service names no usage: estimated from what is said, reasoning and refusals included.
    """

    __slots__ = ("_pace", "_waited_s")

    def __init__(self, exchange: Exchange, reader: EventReader, end: float, idle_s: float, pace: Pace) -> None:
        super().__init__(exchange, reader, end, idle_s)
        self._pace = pace
        self._waited_s = 0.0

    async def _pull(self) -> None:
        began = monotonic()
        await super()._pull()
        now = monotonic()
        self._waited_s += now - began
        reader, exchange = self._reader, self._exchange
        if reader.is_done or not reader.ready:
            return
        left_s = self._pace.take(self._waited_s, sum(map(_tokens_of, reader.ready)))
        self._waited_s = 0.0
        if now + left_s < exchange.due:
            exchange.expect(now + left_s, "enough tokens")


def streamed(exchange: Exchange, reader: EventReader, end: float, clocks: Clocks) -> StreamedReply:
    """A reply whose events come on an exchange, under the clocks of its attempt."""
    if clocks.min_tokens_per_s is None:
        return StreamedReply(exchange, reader, end, clocks.idle_s)
    return PacedReply(exchange, reader, end, clocks.idle_s, Pace(clocks.min_tokens_per_s))


def _tokens_of(chunk: Chunk) -> int:
    """At least one: the pieces of a tool's call are not read."""
    said = sum(estimate_tokens(text) for text in (chunk.text, chunk.reasoning, chunk.refusal) if text)
    return said or 1
