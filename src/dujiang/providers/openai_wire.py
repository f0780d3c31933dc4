"""The OpenAI chat format, as a client speaks it: request to bytes, answer to chunks. Pure."""

from typing import Any

import msgspec
from msgspec import Struct

from dujiang.core.chat import ChatRequest, Chunk, FinishReason, Message, Usage
from dujiang.core.errors import Unavailable, UpstreamError
from dujiang.providers.presets import Preset
from dujiang.providers.usage import VendorUsage, estimate_tokens, normalise

FINISH: dict[str, FinishReason] = {
    "stop": "stop",
    "normal": "stop",
    "length": "length",
    "tool_calls": "tool_calls",
    "function_call": "tool_calls",
    "content_filter": "content_filter",
    "sensitive": "content_filter",
    "model_context_window_exceeded": "length",
    "error": "error",
    "network_error": "error",
    "insufficient_system_resource": "error",
    "aborted": "error",
    "abort": "error",
}
"""Vendors' finish reasons; any other word means `unknown` and is kept beside it."""


class _Message(Struct):
    content: str | None = None
    tool_calls: list[dict[str, Any]] | None = None
    refusal: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None


class _Choice(Struct):
    message: _Message | None = None
    finish_reason: str | None = None
    need_clear_history: bool = False
    logprobs: dict[str, Any] | None = None


class _Completion(Struct):
    model: str | None = None
    choices: list[_Choice] | None = None
    usage: VendorUsage | None = None


class StreamChoice(Struct):
    delta: _Message | None = None
    finish_reason: str | None = None
    need_clear_history: bool = False
    logprobs: dict[str, Any] | None = None
    usage: VendorUsage | None = None


class StreamEvent(Struct):
    model: str | None = None
    choices: list[StreamChoice] | None = None
    usage: VendorUsage | None = None
    error: Any = None


class _OddCompletion(_Completion):
    usage: Any = None


class _OddChoice(StreamChoice):
    usage: Any = None


class _OddEvent(StreamEvent):
    choices: list[_OddChoice] | None = None  # pyright: ignore[reportIncompatibleVariableOverride]
    usage: Any = None


_encode = msgspec.json.Encoder().encode
_read_completion = msgspec.json.Decoder(_Completion).decode
_read_odd_completion = msgspec.json.Decoder(_OddCompletion).decode
_read_odd_event = msgspec.json.Decoder(_OddEvent).decode
read_event = msgspec.json.Decoder(StreamEvent).decode

_STREAM_USAGE = b',"stream_options":{"include_usage":true}}'


def encode_request(request: ChatRequest, model: str, preset: Preset) -> bytes:
    """The body to send: unset fields are left out, never sent as null. The neutral request has OpenAI's own names."""
    if preset.drops or preset.renames or not preset.has_developer_role:
        request = _adapt(request, preset)
    body = _encode(
        ChatRequest(
            model,
            request.messages,
            request.stream,
            request.temperature,
            request.top_p,
            request.max_tokens,
            request.max_completion_tokens,
            request.stop,
            request.seed,
            request.presence_penalty,
            request.frequency_penalty,
            request.tools,
            request.tool_choice,
            request.parallel_tool_calls,
            request.response_format,
        )
    )
    if request.extra:
        extra = {name: value for name, value in request.extra.items() if name not in preset.drops}
        if extra:
            body = body[:-1] + b"," + _encode(extra)[1:]
    if request.stream and preset.has_stream_usage:
        body = body[:-1] + _STREAM_USAGE
    return body


def _adapt(request: ChatRequest, preset: Preset) -> ChatRequest:
    changes: dict[str, Any] = {}
    for name, other in preset.renames:
        value = getattr(request, name)
        if value is not None:
            changes[name] = None
            if getattr(request, other) is None:
                changes[other] = value
    for name in preset.drops:
        if getattr(request, name, None) is not None:
            changes[name] = None
    if not preset.has_developer_role and any(message.role == "developer" for message in request.messages):
        changes["messages"] = [_as_system(message) for message in request.messages]
    return msgspec.structs.replace(request, **changes) if changes else request


def _as_system(message: Message) -> Message:
    return msgspec.structs.replace(message, role="system") if message.role == "developer" else message


def read_completion(body: bytes, request: ChatRequest) -> Chunk:
    """A whole answer as the one chunk it is. Raises `UpstreamError` for anything that is not a completion."""
    try:
        answer = _read_answer(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise UpstreamError("The model's service sent an answer that cannot be read.", reason="bad_answer") from error
    choice = answer.choices[0] if answer.choices else None
    message = choice.message if choice is not None else None
    if choice is None or message is None:
        raise UpstreamError("The model's service sent an answer without a message.", reason="bad_answer")
    finish = finish_of(choice.finish_reason, needs_clearing=choice.need_clear_history) or "unknown"
    if finish == "error":
        raise Unavailable("The model's service broke off its answer.", reason=choice.finish_reason)
    text = message.content or ""
    reasoning = message.reasoning_content or message.reasoning
    usage = normalise(answer.usage) if answer.usage is not None else None
    return Chunk(
        text,
        finish,
        usage or estimate(request, estimate_tokens(text) + estimate_tokens(reasoning or "")),
        answer.model or None,
        message.tool_calls or None,
        reasoning or None,
        message.refusal or None,
        choice.logprobs,
        choice.finish_reason,
    )


def _read_answer(body: bytes) -> _Completion:
    """That a vendor counts oddly must not cost the caller the answer: it is read without its usage then."""
    try:
        return _read_completion(body)
    except msgspec.ValidationError:
        answer = _read_odd_completion(body)
        answer.usage = None
        return answer


def read_odd_event(event: bytes) -> StreamEvent:
    """An event that `read_event` refused, without its usage. Raises as that does when the usage was not to blame."""
    read = _read_odd_event(event)
    read.usage = None
    for choice in read.choices or ():
        choice.usage = None
    return read


def finish_of(raw: str | None, *, needs_clearing: bool = False) -> FinishReason | None:
    """The neutral reason. With ERNIE's `need_clear_history`, safety ended the conversation, whatever the word."""
    if needs_clearing:
        return "content_filter"
    return FINISH.get(raw, "unknown") if raw else None


def estimate(request: ChatRequest, completion_tokens: int) -> Usage:
    """Usage for a service that reported none: our own count, marked `estimated`."""
    prompt = sum(3 + estimate_tokens(_text_of(message)) for message in request.messages)
    return Usage(input_uncached=prompt, output_visible=completion_tokens, source="estimated")


def _text_of(message: Message) -> str:
    content = message.content
    if isinstance(content, str):
        return content
    return "".join(str(part.get("text", "")) for part in content or ())
