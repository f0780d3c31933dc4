"""The OpenAI format, as a server speaks it. OpenAI's whole request schema is accepted."""

import time
from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Meta, Struct

from dujiang.api.wire import body as wire_body
from dujiang.api.wire.cost import Cost, cost_of
from dujiang.api.wire.fields import (
    CacheControl,
    MaxTokens,
    Penalty,
    Seed,
    Stop,
    Temperature,
    TimeoutS,
    Tools,
    TopP,
    UserInfo,
    check_messages,
    check_request_id,
    check_tools,
    read_scene,
    refuse_unbuilt,
)
from dujiang.core.call import Call, ClaimedUser, ParsedChat, Priority
from dujiang.core.chat import ChatRequest, Chunk, Message
from dujiang.core.errors import AppError, InvalidRequest


class StreamOptions(Struct):
    include_usage: bool | None = None


class ChatBody(Struct, forbid_unknown_fields=True):
    """OpenAI's schema of November 2026, then what travels in `extra_body`."""

    model: str
    messages: list[Message]
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    temperature: Temperature | None = None
    top_p: TopP | None = None
    max_tokens: MaxTokens | None = None
    max_completion_tokens: MaxTokens | None = None
    n: Annotated[int, Meta(ge=1, le=128)] | None = None
    stop: Stop | None = None
    seed: Seed | None = None
    presence_penalty: Penalty | None = None
    frequency_penalty: Penalty | None = None
    tools: Tools | None = None
    tool_choice: str | dict[str, Any] | None = None
    parallel_tool_calls: bool | None = None
    response_format: dict[str, Any] | None = None
    user: str | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Meta(ge=0, le=20)] | None = None
    logit_bias: dict[str, float] | None = None
    reasoning_effort: str | None = None
    verbosity: str | None = None
    service_tier: str | None = None
    modalities: list[str] | None = None
    audio: dict[str, Any] | None = None
    prediction: dict[str, Any] | None = None
    web_search_options: dict[str, Any] | None = None
    metadata: dict[str, Any] | None = None
    store: bool | None = None
    safety_identifier: str | None = None
    prompt_cache_key: str | None = None
    prompt_cache_retention: str | None = None
    prompt_cache_options: dict[str, Any] | None = None
    moderation: Any = None
    functions: list[dict[str, Any]] | None = None
    function_call: str | dict[str, Any] | None = None
    prompt_id: str | None = None
    variables: dict[str, Any] | None = None
    user_info: UserInfo | None = None
    request_id: str | None = None
    timeout_s: TimeoutS | None = None
    priority: Priority | None = None
    explore: bool | None = None
    cache: CacheControl | None = None


_PASSED_ON = (
    "logprobs",
    "top_logprobs",
    "logit_bias",
    "reasoning_effort",
    "verbosity",
    "service_tier",
    "modalities",
    "audio",
    "prediction",
    "web_search_options",
    "metadata",
    "store",
    "safety_identifier",
    "prompt_cache_key",
    "prompt_cache_retention",
    "prompt_cache_options",
    "moderation",
    "functions",
    "function_call",
)
_KNOWN = {"": ChatBody, "user_info": UserInfo, "cache": CacheControl}
_NOBODY = ClaimedUser()
_decode = msgspec.json.Decoder(ChatBody).decode
_encode = msgspec.json.Encoder().encode


def parse(body: bytes) -> ParsedChat:
    """A request out of its bytes. Raises `InvalidRequest` naming the field, `NotBuilt` for what is not built."""
    asked = wire_body.read(_decode, body, _known_fields)
    check_request_id(asked.request_id)
    check_messages(asked.messages, "messages")
    check_tools(asked.tools, "tools")
    refuse_unbuilt("", cache=asked.cache, explore=asked.explore)
    if asked.n not in (None, 1):
        raise InvalidRequest("`n` must be 1: one call gives one answer.", reason="unsupported_value", param="n")
    extra = {name: value for name in _PASSED_ON if (value := getattr(asked, name)) is not None}
    request = ChatRequest(
        asked.model,
        asked.messages,
        asked.stream is True,
        asked.temperature,
        asked.top_p,
        asked.max_tokens,
        asked.max_completion_tokens,
        asked.stop,
        asked.seed,
        asked.presence_penalty,
        asked.frequency_penalty,
        asked.tools,
        asked.tool_choice,
        asked.parallel_tool_calls,
        asked.response_format,
        extra or None,
    )
    return ParsedChat(
        request,
        _user_of(asked),
        read_scene(asked.prompt_id, asked.variables, ""),
        asked.request_id,
        asked.timeout_s,
        asked.stream_options is not None and asked.stream_options.include_usage is True,
        asked.priority or "normal",
    )


def _known_fields(path: str) -> tuple[str, ...]:
    kind = _KNOWN.get(path)
    return kind.__struct_fields__ if kind else ()


def _user_of(asked: ChatBody) -> ClaimedUser:
    info = asked.user_info
    if info is not None:
        return ClaimedUser(info.user_id or asked.user or None, info.user_role, info.conversation_id)
    return ClaimedUser(asked.user) if asked.user else _NOBODY


class _Usage(Struct):
    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: dict[str, int]
    completion_tokens_details: dict[str, int]


class _Message(Struct, omit_defaults=True):
    role: str
    content: str | None
    refusal: str | None
    tool_calls: list[dict[str, Any]] | None = None
    reasoning_content: str | None = None


class _Choice(Struct):
    index: int
    message: _Message
    logprobs: dict[str, Any] | None
    finish_reason: str | None


class _Dujiang(Struct, omit_defaults=True):
    request_id: str
    provider: str
    attempts: int
    cost: Cost | None = None
    output: Any = UNSET


class _Completion(Struct):
    id: str
    object: str
    created: int
    model: str
    choices: list[_Choice]
    usage: _Usage
    dujiang: _Dujiang


def render_whole(call: Call, chunk: Chunk) -> bytes:
    """A `chat.completion`."""
    calls = chunk.tool_calls
    content = chunk.text if chunk.text or not (calls or chunk.refusal) else None
    message = _Message("assistant", content, chunk.refusal, calls, chunk.reasoning)
    choice = _Choice(0, message, chunk.logprobs, chunk.finish)
    served = chunk.served or call.model
    return _encode(
        _Completion(
            f"chatcmpl-{call.id}",
            "chat.completion",
            int(time.time()),
            served,
            [choice],
            _usage(chunk),
            _extras(call, chunk),
        )
    )


def _usage(chunk: Chunk) -> _Usage:
    usage = chunk.usage
    if usage is None:
        return _Usage(0, 0, 0, {}, {})
    prompt, completion = usage.prompt_tokens, usage.completion_tokens
    return _Usage(
        prompt,
        completion,
        prompt + completion,
        {"cached_tokens": usage.cache_read},
        {"reasoning_tokens": usage.reasoning},
    )


def _extras(call: Call, chunk: Chunk) -> _Dujiang:
    return _Dujiang(call.request_id, call.provider, len(call.attempts), cost_of(call), chunk.output)


class StreamRenderer:
    """A stream of `chat.completion.chunk` events. The usage event comes only for a caller who asked for it."""

    __slots__ = ("_call", "_has_usage", "_head", "_tail")

    def __init__(self, call: Call) -> None:
        self._call = call
        self._has_usage = call.parsed.include_usage
        self._head = b""
        self._tail = b',"usage":null}\n\n' if self._has_usage else b"}\n\n"

    def event(self, chunk: Chunk) -> bytes:
        opening = b"" if self._head else self._open(chunk)
        if chunk.tool_calls or chunk.reasoning or chunk.refusal or chunk.logprobs:
            delta: dict[str, Any] = {"content": chunk.text} if chunk.text else {}
            if chunk.tool_calls:
                delta["tool_calls"] = chunk.tool_calls
            if chunk.reasoning:
                delta["reasoning_content"] = chunk.reasoning
            if chunk.refusal:
                delta["refusal"] = chunk.refusal
            return opening + self._choice(_encode(delta), b"null", _encode(chunk.logprobs))
        return opening + self._choice(b'{"content":%b}' % _encode(chunk.text), b"null")

    def terminal(self, chunk: Chunk) -> bytes:
        opening = b"" if self._head else self._open(chunk)
        end = opening + self._choice(b"{}", _encode(chunk.finish))
        extras = _encode(_extras(self._call, chunk))
        if not self._has_usage:
            return end[:-3] + b',"dujiang":%b}\n\ndata: [DONE]\n\n' % extras
        usage = b'%b"choices":[],"usage":%b,"dujiang":%b}\n\n' % (self._head, _encode(_usage(chunk)), extras)
        return end + usage + b"data: [DONE]\n\n"

    def _open(self, chunk: Chunk) -> bytes:
        self._head = b'data: {"id":"chatcmpl-%b","object":"chat.completion.chunk","created":%d,"model":%b,' % (
            self._call.id.encode(),
            int(time.time()),
            _encode(chunk.served or self._call.model),
        )
        return self._choice(b'{"role":"assistant","content":""}', b"null")

    def _choice(self, delta: bytes, finish: bytes, logprobs: bytes = b"null") -> bytes:
        return b'%b"choices":[{"index":0,"delta":%b,"logprobs":%b,"finish_reason":%b}]%b' % (
            self._head,
            delta,
            logprobs,
            finish,
            self._tail,
        )


_TYPES: dict[str, tuple[str, str | None]] = {
    "invalid_request": ("invalid_request_error", None),
    "unauthenticated": ("authentication_error", "invalid_api_key"),
    "budget_exceeded": ("insufficient_quota", "insufficient_quota"),
    "forbidden": ("permission_error", "permission_denied"),
    "not_found": ("not_found_error", None),
    "method_not_allowed": ("invalid_request_error", "method_not_allowed"),
    "conflict": ("invalid_request_error", "conflict"),
    "body_too_large": ("invalid_request_error", "body_too_large"),
    "unprocessable": ("invalid_request_error", None),
    "limit_exceeded": ("rate_limit_error", "rate_limit_exceeded"),
    "not_implemented": ("server_error", "not_implemented"),
    "upstream_rejected": ("invalid_request_error", None),
    "context_length_exceeded": ("invalid_request_error", "context_length_exceeded"),
    "content_filtered": ("invalid_request_error", "content_filter"),
    "upstream_throttled": ("rate_limit_error", "rate_limit_exceeded"),
}
"""OpenAI's error type and code for ours; the code of None is the error's reason. What is not here is `server_error`."""


def render_error(error: AppError, request_id: str, call: Call | None) -> bytes:
    """OpenAI's error body, with our request id beside it."""
    kind, code = _TYPES.get(error.code, ("server_error", error.code))
    message = error.message
    if error.code == "unauthenticated":
        message = f"Incorrect API key provided. {message}"
    param = error.param.removeprefix("parameters.") if error.param else None
    inner = {"message": message, "type": kind, "param": param, "code": code or error.reason}
    return _encode({"error": inner, "dujiang": {"request_id": request_id}})


def render_error_event(error: AppError, call: Call) -> bytes:
    """The event that ends a stream which failed after its first token. No `[DONE]` follows: it is not complete."""
    return b"data: %b\n\n" % render_error(error, call.request_id, call)
