"""The native format: the requirement's own request and its `code/message/data` envelope."""

import time
from typing import Any

import msgspec
from msgspec import UNSET, Struct

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
from dujiang.api.wire.version import dated_part
from dujiang.core.call import Call, ClaimedUser, ParsedChat, Priority
from dujiang.core.chat import ChatRequest, Chunk, Message
from dujiang.core.errors import AppError, InvalidRequest


class Parameters(Struct, forbid_unknown_fields=True):
    prompt: str | None = None
    messages: list[Message] | None = None
    temperature: Temperature | None = None
    max_tokens: MaxTokens | None = None
    prompt_id: str | None = None
    variables: dict[str, Any] | None = None
    stream: bool = False
    top_p: TopP | None = None
    stop: Stop | None = None
    seed: Seed | None = None
    response_format: dict[str, Any] | None = None
    tools: Tools | None = None
    tool_choice: str | dict[str, Any] | None = None
    presence_penalty: Penalty | None = None
    frequency_penalty: Penalty | None = None
    timeout_s: TimeoutS | None = None
    priority: Priority | None = None
    explore: bool | None = None
    cache: CacheControl | None = None


class ChatBody(Struct, forbid_unknown_fields=True):
    parameters: Parameters
    model: str = ""
    user_info: UserInfo | None = None
    request_id: str | None = None


_KNOWN = {"": ChatBody, "parameters": Parameters, "user_info": UserInfo, "parameters.cache": CacheControl}
_NOBODY = ClaimedUser()
_decode = msgspec.json.Decoder(ChatBody).decode
_encode = msgspec.json.Encoder().encode


def parse(body: bytes) -> ParsedChat:
    """A request out of its bytes. Raises `InvalidRequest` naming the field, `NotBuilt` for what is not built."""
    asked = wire_body.read(_decode, body, _known_fields)
    check_request_id(asked.request_id)
    p = asked.parameters
    if p.cache is not None or p.explore is not None:
        refuse_unbuilt("parameters.", cache=p.cache, explore=p.explore)
    if p.tools is not None:
        check_tools(p.tools, "parameters.tools")
    request = ChatRequest(
        asked.model,
        _messages_of(p),
        p.stream,
        p.temperature,
        p.top_p,
        p.max_tokens,
        None,
        p.stop,
        p.seed,
        p.presence_penalty,
        p.frequency_penalty,
        p.tools,
        p.tool_choice,
        None,
        p.response_format,
    )
    user = asked.user_info
    return ParsedChat(
        request,
        ClaimedUser(user.user_id, user.user_role, user.conversation_id) if user else _NOBODY,
        read_scene(p.prompt_id, p.variables, "parameters.") if p.prompt_id is not None or p.variables else None,
        asked.request_id,
        p.timeout_s,
        priority=p.priority or "normal",
    )


def _known_fields(path: str) -> tuple[str, ...]:
    kind = _KNOWN.get(path)
    return kind.__struct_fields__ if kind else ()


def _messages_of(p: Parameters) -> list[Message]:
    if p.prompt is not None:
        if p.messages is not None:
            raise InvalidRequest("Give `prompt` or `messages`, not both.", param="parameters.prompt")
        if not p.prompt or p.prompt.isspace():
            raise InvalidRequest("`prompt` is empty.", param="parameters.prompt")
        return [Message("user", p.prompt)]
    if p.messages is None:
        raise InvalidRequest("A `prompt` is required.", param="parameters.prompt")
    check_messages(p.messages, "parameters.messages")
    return p.messages


class _ModelInfo(Struct):
    name: str
    provider: str
    version: str


class _Usage(Struct):
    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class _Data(Struct, omit_defaults=True):
    result: str
    model_info: _ModelInfo
    usage: _Usage
    finish_reason: str | None
    attempts: int
    cost: Cost | None = None
    tool_calls: list[dict[str, Any]] | None = None
    reasoning: str | None = None
    refusal: str | None = None
    output: Any = UNSET


class _Envelope(Struct):
    code: int
    message: str
    data: _Data
    request_id: str
    timestamp: int


def render_whole(call: Call, chunk: Chunk) -> bytes:
    """The envelope of a whole answer."""
    data = _Data(
        chunk.text,
        _model_info(call, chunk),
        _usage(chunk),
        chunk.finish,
        len(call.attempts),
        cost_of(call),
        chunk.tool_calls,
        chunk.reasoning,
        chunk.refusal,
        chunk.output,
    )
    return _encode(_Envelope(200, "success", data, call.request_id, int(time.time())))


def _model_info(call: Call, chunk: Chunk) -> _ModelInfo:
    version = dated_part(chunk.served) if chunk.served else ""
    return _ModelInfo(call.model, call.provider, version or call.model_version)


def _usage(chunk: Chunk) -> _Usage:
    usage = chunk.usage
    if usage is None:
        return _Usage(0, 0, 0)
    prompt, completion = usage.prompt_tokens, usage.completion_tokens
    return _Usage(prompt, completion, prompt + completion)


class StreamRenderer:
    """A stream of envelopes: one `data.delta` an event, the last one with finish, model and usage."""

    __slots__ = ("_call", "_tail")

    def __init__(self, call: Call) -> None:
        self._call = call
        self._tail = b',"request_id":%b,"timestamp":%d}\n\n' % (_encode(call.request_id), int(time.time()))

    def event(self, chunk: Chunk) -> bytes:
        if chunk.tool_calls or chunk.reasoning or chunk.refusal:
            data = {"delta": chunk.text, "tool_calls": chunk.tool_calls or []}
            if chunk.reasoning:
                data["reasoning"] = chunk.reasoning
            if chunk.refusal:
                data["refusal"] = chunk.refusal
            return b'data: {"code":200,"message":"success","data":%b%b' % (_encode(data), self._tail)
        return b'data: {"code":200,"message":"success","data":{"delta":%b}%b' % (_encode(chunk.text), self._tail)

    def terminal(self, chunk: Chunk) -> bytes:
        call = self._call
        data: dict[str, object] = {
            "finish_reason": chunk.finish,
            "model_info": _model_info(call, chunk),
            "usage": _usage(chunk),
            "attempts": len(call.attempts),
        }
        cost = cost_of(call)
        if cost is not None:
            data["cost"] = cost
        if chunk.output is not UNSET:
            data["output"] = chunk.output
        return b'data: {"code":200,"message":"success","data":%b%bdata: [DONE]\n\n' % (_encode(data), self._tail)


class _ErrorEnvelope(Struct):
    code: int
    message: str
    data: None
    error: dict[str, Any]
    request_id: str
    timestamp: int


def render_error(error: AppError, request_id: str, call: Call | None) -> bytes:
    """The envelope of an error."""
    attempts = [
        {"provider": a.provider, "target": a.target, "why": a.why, "error": a.error}
        for a in (call.attempts if call else ())
    ]
    inner = {
        "type": error.code,
        "reason": error.reason,
        "param": error.param,
        "retry_after_s": error.retry_after_s,
        "attempts": attempts,
        **error.details(),
    }
    return _encode(_ErrorEnvelope(error.status, error.message, None, inner, request_id, int(time.time())))


def render_error_event(error: AppError, call: Call) -> bytes:
    """The event that ends a stream which failed after its first token. No `[DONE]` follows: it is not complete."""
    return b"data: %b\n\n" % render_error(error, call.request_id, call)
