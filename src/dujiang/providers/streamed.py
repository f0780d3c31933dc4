"""A reply that arrives as server-sent events, whatever vendor's format is in them."""

from collections import deque
from typing import Protocol

from dujiang.core.chat import Chunk, Usage
from dujiang.core.errors import StreamBroken, UpstreamError
from dujiang.core.reply import Reply
from dujiang.providers.http import Exchange, monotonic
from dujiang.providers.sse import EventDecoder, EventTooLong


class EventReader(Protocol):
    """Turns a vendor's events into chunks, in `ready`. `is_done` once the answer is complete.

    The last chunk, and only that, carries finish and usage.
    """

    ready: deque[Chunk]
    is_done: bool

    def take(self, event: bytes) -> None:
        """Take in one event's payload. Raises `UpstreamError` for one that cannot be read, or is an error."""

    def spent(self) -> Usage:
        """What was used so far: the service's own figures, else our estimate."""
        ...

    def end(self) -> None:
        """The service closed the stream. Raises `UpstreamError` when its answer was not complete."""


class StreamedReply(Reply):
    """Pulls events from an exchange through a reader.

    `end` is the monotonic time by which all must be there; `idle_s` how long the next token may take.
    """

    __slots__ = ("_decoder", "_end", "_exchange", "_idle_s", "_reader")

    def __init__(self, exchange: Exchange, reader: EventReader, end: float, idle_s: float) -> None:
        super().__init__()
        self._exchange = exchange
        self._reader = reader
        self._end = end
        self._idle_s = idle_s
        self._decoder = EventDecoder()

    async def prime(self) -> None:
        """Wait for the first chunk that says something. Until then a failure is an error that may be retried."""
        while not self._reader.ready:
            await self._pull()

    async def __anext__(self) -> Chunk:
        ready = self._reader.ready
        while not ready:
            if self.is_complete:
                raise StopAsyncIteration
            if self.error is not None:
                raise self.error
            try:
                await self._pull()
            except UpstreamError as error:
                self.error = StreamBroken(error.message, reason=error.reason)
                self.error.raw = error.raw
        chunk = ready.popleft()
        if (said := self.said) is not None:
            said.append(chunk.text)
        if chunk.finish is not None:
            self.is_complete = True
            self.last = chunk
        return chunk

    def release(self) -> None:
        self._exchange.release()
        if not self.is_complete:
            self.spent = self._reader.spent()

    async def _pull(self) -> None:
        """Take in what arrives next; the idle clock restarts only when it held a token."""
        reader = self._reader
        data = await self._exchange.read()
        try:
            events = self._decoder.feed(data) if data else self._decoder.flush()
        except EventTooLong as error:
            raise UpstreamError("The model's service sent too long an event.", reason="bad_answer") from error
        for event in events:
            if not reader.is_done:
                reader.take(event)
        if reader.is_done:
            return
        if not data:
            reader.end()
        elif reader.ready:
            self._exchange.expect(min(self._end, monotonic() + self._idle_s), "the next token")
