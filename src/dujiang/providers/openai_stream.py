"""The events of a streamed answer in the OpenAI format."""

from collections import deque

import msgspec

from dujiang.core.chat import ChatRequest, Chunk, FinishReason, Usage
from dujiang.core.errors import Unavailable, UpstreamError
from dujiang.providers.errors import Codes, classify, read_error
from dujiang.providers.openai_wire import (
    StreamChoice,
    StreamEvent,
    estimate,
    finish_of,
    read_event,
    read_odd_event,
)
from dujiang.providers.usage import estimate_tokens, normalise


class OpenAIEvents:
    """Reads `chat.completion.chunk` events. Complete is an answer with a finish reason, or with `[DONE]`."""

    __slots__ = (
        "_codes",
        "_finish",
        "_raw_finish",
        "_request",
        "_secret",
        "_served",
        "_tokens",
        "_usage",
        "is_done",
        "ready",
    )

    def __init__(self, request: ChatRequest, secret: str, codes: Codes) -> None:
        self._request = request
        self._secret = secret
        self._codes = codes
        self._finish: FinishReason | None = None
        self._raw_finish: str | None = None
        self._usage: Usage | None = None
        self._served: str | None = None
        self._tokens = 0
        self.ready: deque[Chunk] = deque()
        self.is_done = False

    def take(self, event: bytes) -> None:
        if event.startswith(b"[DONE]"):
            self._finish = self._finish or "unknown"
            self.end()
            return
        try:
            parsed = read_event(event)
        except msgspec.ValidationError:
            parsed = self._read_odd(event)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise self._unreadable(event) from error
        if parsed.error:
            raise classify(200, read_error(event), secret=self._secret, codes=self._codes)
        if parsed.model:
            self._served = parsed.model
        if parsed.usage is not None:
            self._usage = normalise(parsed.usage) or self._usage
        if parsed.choices:
            self._take_choice(parsed.choices[0])

    def spent(self) -> Usage:
        return self._usage or estimate(self._request, self._tokens)

    def end(self) -> None:
        self.is_done = True
        if self._finish is None:
            raise Unavailable("The model's service broke off its answer.", reason="truncated")
        self.ready.append(Chunk("", self._finish, self.spent(), self._served, raw_finish=self._raw_finish))

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
                self.ready.append(chunk)
        if choice.usage is not None:
            self._usage = normalise(choice.usage) or self._usage
        if choice.finish_reason or choice.need_clear_history:
            self._finish = finish_of(choice.finish_reason, needs_clearing=choice.need_clear_history)
            self._raw_finish = choice.finish_reason
            if self._finish == "error":
                raise Unavailable("The model's service broke off its answer.", reason=choice.finish_reason)

    def _read_odd(self, event: bytes) -> StreamEvent:
        try:
            return read_odd_event(event)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise self._unreadable(event) from error

    def _unreadable(self, event: bytes) -> UpstreamError:
        error = read_error(event)
        if error.code or error.type:
            return classify(200, error, secret=self._secret, codes=self._codes)
        return UpstreamError("The model's service sent an event that cannot be read.", reason="bad_answer")
