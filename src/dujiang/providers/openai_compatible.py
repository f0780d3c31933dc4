"""A provider for every service that speaks the OpenAI chat format."""

from collections import deque

import msgspec
from msgspec import Struct

from dujiang.core.call import Call
from dujiang.core.chat import Chunk, FinishReason, Usage
from dujiang.core.errors import StreamBroken, Unavailable, UpstreamError
from dujiang.core.reply import Reply, WholeReply
from dujiang.providers.errors import classify, read_error, retry_after_s
from dujiang.providers.http import Exchange, Pool, monotonic
from dujiang.providers.openai_wire import (
    StreamChoice,
    encode_request,
    estimate,
    finish_of,
    read_completion,
    read_event,
)
from dujiang.providers.presets import Preset
from dujiang.providers.sse import EventDecoder, EventTooLong
from dujiang.providers.usage import estimate_tokens, normalise


class Clocks(Struct, frozen=True):
    """Seconds that an attempt may take; the last two hold for streams only, and count tokens, not bytes."""

    connect_s: float
    total_s: float
    first_token_s: float
    idle_s: float


class OpenAICompatible:
    """One model at one service under one credential. Calling it opens a reply."""

    def __init__(self, pool: Pool, head: bytes, secret: str, model: str, clocks: Clocks, preset: Preset) -> None:
        self._pool = pool
        self._head = head
        self._secret = secret
        self._model = model
        self._clocks = clocks
        self._preset = preset

    async def __call__(self, call: Call) -> Reply:
        body = encode_request(call.request, self._model, self._preset)
        payload = b"%b%d\r\n\r\n%b" % (self._head, len(body), body)
        if call.request.stream:
            return await self._open_stream(call, payload)
        return await self._open_whole(call, payload)

    async def _open_whole(self, call: Call, payload: bytes) -> Reply:
        clocks = self._clocks
        due = min(call.deadline, monotonic() + clocks.total_s)
        exchange = await self._pool.send(payload, clocks.connect_s, due, "its answer")
        try:
            body = await exchange.body()
            if exchange.status != 200:
                raise self._error_of(exchange, body)
            _require_plain(exchange)
        finally:
            exchange.release()
        return WholeReply(self._completion(body, call))

    async def _open_stream(self, call: Call, payload: bytes) -> Reply:
        clocks = self._clocks
        end = min(call.deadline, monotonic() + clocks.total_s)
        due = min(end, monotonic() + clocks.first_token_s)
        exchange = await self._pool.send(payload, clocks.connect_s, due, "its first token")
        is_open = False
        try:
            status = await exchange.head()
            content_type = exchange.header(b"content-type") or b""
            if status != 200 or content_type.startswith(b"application/json"):
                body = await exchange.body()
                if status != 200:
                    raise self._error_of(exchange, body)
                _require_plain(exchange)
                return WholeReply(self._completion(body, call))
            _require_plain(exchange)
            reply = StreamedReply(exchange, call, end, clocks.idle_s, self._secret)
            await reply.prime()
            is_open = True
        finally:
            if not is_open:
                exchange.release()
        return reply

    def _completion(self, body: bytes, call: Call) -> Chunk:
        if body.lstrip()[:8] == b'{"error"':
            error = read_error(body)
            if error.message or error.code:
                raise classify(200, error, secret=self._secret)
        return read_completion(body, call.request)

    def _error_of(self, exchange: Exchange, body: bytes) -> UpstreamError:
        wait_s = retry_after_s(exchange.headers)
        return classify(exchange.status, read_error(body), secret=self._secret, retry_after_s=wait_s)


def _require_plain(exchange: Exchange) -> None:
    if exchange.header(b"content-encoding") not in (None, b"identity"):
        raise UpstreamError("The model's service sent a compressed answer, which was not asked for.", reason="encoding")


class StreamedReply(Reply):
    """An answer that arrives as server-sent events. Its last chunk, and only that, carries finish and usage."""

    __slots__ = (
        "_call",
        "_decoder",
        "_end",
        "_exchange",
        "_finish",
        "_idle_s",
        "_is_done",
        "_raw_finish",
        "_ready",
        "_secret",
        "_served",
        "_tokens",
        "_usage",
    )

    def __init__(self, exchange: Exchange, call: Call, end: float, idle_s: float, secret: str) -> None:
        super().__init__()
        self._exchange = exchange
        self._call = call
        self._end = end
        self._idle_s = idle_s
        self._secret = secret
        self._decoder = EventDecoder()
        self._ready: deque[Chunk] = deque()
        self._is_done = False
        self._finish: FinishReason | None = None
        self._raw_finish: str | None = None
        self._usage: Usage | None = None
        self._served: str | None = None
        self._tokens = 0

    async def prime(self) -> None:
        """Wait for the first chunk that says something. Until then a failure is an error that may be retried."""
        while not self._ready:
            await self._pull()

    async def __anext__(self) -> Chunk:
        ready = self._ready
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
        if chunk.finish is not None:
            self.is_complete = True
            self.usage = chunk.usage
        return chunk

    def release(self) -> None:
        self._exchange.release()

    async def _pull(self) -> None:
        """Take in what arrives next; the idle clock restarts only when it held a token."""
        data = await self._exchange.read()
        try:
            events = self._decoder.feed(data) if data else self._decoder.flush()
        except EventTooLong as error:
            raise UpstreamError("The model's service sent too long an event.", reason="bad_answer") from error
        for event in events:
            self._take(event)
        if self._is_done:
            return
        if not data:
            self._close_stream()
        elif self._ready:
            now = monotonic()
            self._exchange.expect(min(self._end, now + self._idle_s), "the next token")

    def _take(self, event: bytes) -> None:
        if self._is_done:
            return
        if event.startswith(b"[DONE]"):
            self._finish = self._finish or "unknown"
            self._close_stream()
            return
        try:
            parsed = read_event(event)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise self._unreadable(event) from error
        if parsed.error:
            raise classify(200, read_error(event), secret=self._secret)
        if parsed.model:
            self._served = parsed.model
        if parsed.usage is not None:
            self._usage = normalise(parsed.usage) or self._usage
        if parsed.choices:
            self._take_choice(parsed.choices[0])

    def _take_choice(self, choice: StreamChoice) -> None:
        delta = choice.delta
        if delta is not None:
            reasoning = delta.reasoning_content or delta.reasoning
            if delta.content or delta.tool_calls or reasoning or delta.refusal:
                text = delta.content or ""
                self._tokens += estimate_tokens(text)
                chunk = Chunk(
                    text, None, None, self._served, delta.tool_calls, reasoning, delta.refusal, choice.logprobs
                )
                self._ready.append(chunk)
        if choice.usage is not None:
            self._usage = normalise(choice.usage) or self._usage
        if choice.finish_reason:
            self._finish = finish_of(choice.finish_reason)
            self._raw_finish = choice.finish_reason
            if self._finish == "error":
                raise Unavailable("The model's service broke off its answer.", reason=choice.finish_reason)

    def _unreadable(self, event: bytes) -> UpstreamError:
        error = read_error(event)
        if error.code or error.type:
            return classify(200, error, secret=self._secret)
        return UpstreamError("The model's service sent an event that cannot be read.", reason="bad_answer")

    def _close_stream(self) -> None:
        """The service said it is done, or closed. Without a finish reason or terminator the answer was cut."""
        self._is_done = True
        if self._finish is None:
            raise Unavailable("The model's service broke off its answer.", reason="truncated")
        usage = self._usage or estimate(self._call.request, self._tokens)
        self._ready.append(Chunk("", self._finish, usage, self._served, raw_finish=self._raw_finish))
