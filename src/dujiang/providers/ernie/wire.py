"""The chat format of ERNIE V1: request to bytes, answers and stream frames to chunks. Pure."""

from collections import deque
from typing import Any

import msgspec
from msgspec import Struct

from dujiang.core.chat import ChatRequest, Chunk, FinishReason, Usage
from dujiang.core.errors import InvalidRequest, Unavailable, UpstreamError
from dujiang.core.ids import new_id
from dujiang.providers.ernie.errors import INVALID_TOKEN_CODES, v1_error
from dujiang.providers.ernie.turns import Turn, to_turns
from dujiang.providers.openai_wire import estimate, finish_of
from dujiang.providers.usage import VendorUsage, estimate_tokens, normalise

MIN_TEMPERATURE = 0.01
"""V1 takes (0, 1]; 0, which others take for "always the likeliest", becomes this."""

_MIN_OUTPUT_TOKENS = 2
_STOPS, _STOP_CHARS = 4, 20


class _Body(Struct, omit_defaults=True):
    messages: list[Turn]
    stream: bool = False
    system: str | None = None
    temperature: float | None = None
    top_p: float | None = None
    stop: list[str] | None = None
    max_output_tokens: int | None = None
    response_format: str | None = None
    functions: list[dict[str, Any]] | None = None
    tool_choice: dict[str, Any] | None = None


class _FunctionCall(Struct):
    name: str = ""
    arguments: str = ""


class Frame(Struct):
    """An answer of V1, or a frame of a stream, whose `result` is a delta and whose usage is a running total."""

    result: str | None = None
    is_end: bool = False
    is_truncated: bool = False
    need_clear_history: bool = False
    finish_reason: str | None = None
    function_call: _FunctionCall | None = None
    usage: VendorUsage | None = None
    error_code: int | None = None
    error_msg: str = ""


class InvalidToken(UpstreamError):
    """The access token is not, or no longer, valid."""


_encode = msgspec.json.Encoder().encode
_read = msgspec.json.Decoder(Frame, strict=False).decode


def encode_request(request: ChatRequest) -> bytes:
    """The body to send.

    OpenAI's penalties, seed and log-probabilities have no counterpart and are left out: `penalty_score` is another
    scale. Raises `InvalidRequest` for what V1 cannot keep.
    """
    system, turns = to_turns(request.messages)
    functions, choice = _functions_of(request)
    limit = request.max_completion_tokens or request.max_tokens
    return _encode(
        _Body(
            turns,
            request.stream,
            system,
            None if request.temperature is None else min(max(request.temperature, MIN_TEMPERATURE), 1.0),
            request.top_p,
            _stops_of(request.stop),
            None if limit is None else max(limit, _MIN_OUTPUT_TOKENS),
            _format_of(request.response_format),
            functions,
            choice,
        )
    )


def _stops_of(stop: str | list[str] | None) -> list[str] | None:
    if not stop:
        return None
    stops = [stop] if isinstance(stop, str) else stop
    if len(stops) > _STOPS or any(len(text) > _STOP_CHARS for text in stops):
        raise InvalidRequest(f"ERNIE takes {_STOPS} stop texts of {_STOP_CHARS} characters each.", param="stop")
    return stops


def _format_of(form: dict[str, Any] | None) -> str | None:
    kind = form.get("type") if form else None
    if kind == "json_schema":
        raise InvalidRequest(
            "This generation of ERNIE keeps no JSON schema; ask for `json_object`, or a model of Qianfan V2.",
            param="response_format",
        )
    return kind


def _functions_of(request: ChatRequest) -> tuple[list[dict[str, Any]] | None, dict[str, Any] | None]:
    choice = request.tool_choice
    if not request.tools or choice == "none":
        return None, None
    functions = [_function_of(tool["function"]) for tool in request.tools]
    if isinstance(choice, dict):
        return functions, choice
    if choice == "required":
        if len(functions) > 1:
            raise InvalidRequest(
                "ERNIE can be bound to one named tool only: name it in `tool_choice`.", param="tool_choice"
            )
        return functions, {"type": "function", "function": {"name": functions[0]["name"]}}
    return functions, None


def _function_of(function: dict[str, Any]) -> dict[str, Any]:
    return {
        "name": function["name"],
        "description": function.get("description") or function["name"],
        "parameters": function.get("parameters") or {"type": "object", "properties": {}},
    }


def read_frame(data: bytes, secrets: tuple[str, ...]) -> Frame:
    """Understand an answer or a frame. Raises `InvalidToken`, and the class of any other `error_code`."""
    try:
        frame = _read(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise UpstreamError("ERNIE sent an answer that cannot be read.", reason="bad_answer") from error
    if frame.error_code:
        if frame.error_code in INVALID_TOKEN_CODES:
            raise InvalidToken("ERNIE refused the access token.", reason=str(frame.error_code))
        raise v1_error(frame.error_code, frame.error_msg, secrets=secrets)
    return frame


def read_answer(data: bytes, request: ChatRequest, secrets: tuple[str, ...]) -> Chunk:
    """A whole answer as one chunk. An answer without `result` is none."""
    frame = read_frame(data, secrets)
    if frame.result is None and frame.function_call is None:
        raise UpstreamError("ERNIE sent an answer without a result.", reason="bad_answer")
    text = frame.result or ""
    usage = normalise(frame.usage) if frame.usage is not None else None
    return Chunk(
        text,
        _finish_of(frame),
        usage or estimate(request, estimate_tokens(text)),
        None,
        _tool_calls_of(frame),
        raw_finish=frame.finish_reason,
    )


def _finish_of(frame: Frame) -> FinishReason:
    if frame.need_clear_history:
        return "content_filter"
    if frame.function_call is not None:
        return "tool_calls"
    if frame.is_truncated:
        return "length"
    return finish_of(frame.finish_reason) or "stop"


def _tool_calls_of(frame: Frame) -> list[dict[str, Any]] | None:
    called = frame.function_call
    if called is None:
        return None
    function = {"name": called.name, "arguments": called.arguments}
    return [{"index": 0, "id": f"call_{new_id().replace('-', '')}", "type": "function", "function": function}]


class ErnieFrames:
    """Reads the frames of a stream. Complete is an answer with `is_end`; V1 sends no `[DONE]`."""

    __slots__ = ("_finish", "_raw_finish", "_request", "_secrets", "_tokens", "_usage", "is_done", "ready")

    def __init__(self, request: ChatRequest, secrets: tuple[str, ...]) -> None:
        self._request = request
        self._secrets = secrets
        self._finish: FinishReason = "stop"
        self._raw_finish: str | None = None
        self._usage: Usage | None = None
        self._tokens = 0
        self.ready: deque[Chunk] = deque()
        self.is_done = False

    def take(self, event: bytes) -> None:
        frame = read_frame(event, self._secrets)
        if frame.usage is not None:
            self._usage = normalise(frame.usage) or self._usage
        calls = _tool_calls_of(frame)
        if frame.result or calls:
            text = frame.result or ""
            self._tokens += estimate_tokens(text)
            self.ready.append(Chunk(text, tool_calls=calls))
        if frame.finish_reason or frame.need_clear_history or frame.is_truncated or calls:
            self._finish = _finish_of(frame)
            self._raw_finish = frame.finish_reason
        if frame.is_end:
            self.is_done = True
            self.ready.append(Chunk("", self._finish, self.spent(), raw_finish=self._raw_finish))

    def spent(self) -> Usage:
        return self._usage or estimate(self._request, self._tokens)

    def end(self) -> None:
        raise Unavailable("ERNIE broke off its answer.", reason="truncated")
