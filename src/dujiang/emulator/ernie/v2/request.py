"""A V2 chat: OpenAI's format with Baidu's own fields and ranges, refused by Baidu's codes."""

from typing import Annotated, Literal

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from dujiang.emulator.body import BadBody, decode
from dujiang.emulator.ernie.v2.failures import FAILURES, Failure
from dujiang.emulator.openai.message import InvalidChat, Message
from dujiang.emulator.openai.request import Chat, check_chat

_BLANKS = " \t\n\r\f\v"
_ROLES = ("system", "user", "assistant", "tool")
_FOREIGN = ("refusal", "function_call", "audio", "reasoning")
_CLASSIC = (
    "ernie-3.5",
    "ernie-4.0",
    "ernie-speed",
    "ernie-lite",
    "ernie-tiny",
    "ernie-char",
    "ernie-func",
    "ernie-novel",
)
"""The beginnings of the names of models that take temperatures from above 0 to 1."""


class StreamOptions(Struct, frozen=True, forbid_unknown_fields=True):
    include_usage: bool = False
    chunk_include_usage: bool = False


class WebSearch(Struct, forbid_unknown_fields=True):
    enable: bool = False
    enable_citation: bool = False
    enable_trace: bool = False
    enable_status: bool = False
    search_mode: Literal["auto", "required"] | UnsetType = UNSET
    search_number: Annotated[int, Meta(ge=1, le=28)] | UnsetType = UNSET
    reference_number: Annotated[int, Meta(ge=1, le=28)] | UnsetType = UNSET


class QianfanChat(Chat, forbid_unknown_fields=True):
    """The body of `POST /v2/chat/completions` (Baidu's page of 2025-12-23)."""

    stream_options: StreamOptions = StreamOptions()
    penalty_score: Annotated[float, Meta(ge=1, le=2)] | UnsetType = UNSET
    repetition_penalty: Annotated[float, Meta(gt=0)] | UnsetType = UNSET
    stop: Annotated[list[Annotated[str, Meta(max_length=20)]], Meta(max_length=4)] | UnsetType = UNSET
    seed: Annotated[int, Meta(gt=0, lt=2_147_483_647)] | UnsetType = UNSET
    web_search: WebSearch | UnsetType = UNSET
    metadata: Annotated[dict[str, str], Meta(max_length=16)] | UnsetType = UNSET
    enable_thinking: bool | UnsetType = UNSET
    thinking_budget: Annotated[int, Meta(ge=100)] | UnsetType = UNSET
    thinking_strategy: Literal["short_think", "chain_of_draft"] | UnsetType = UNSET
    reasoning_effort: Literal["low", "medium", "high"] | UnsetType = UNSET


class Rejected(Exception):
    """A request that Baidu would refuse, and as which error."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.message)
        self.failure = failure


_decoder = msgspec.json.Decoder(QianfanChat)


def read_chat(body: bytes) -> QianfanChat:
    """Raises `Rejected`."""
    try:
        chat = decode(_decoder, body)
        _check_temperature(chat)
        _check_messages(chat.messages)
        check_chat(chat)
    except BadBody as problem:
        if problem.kind == "json":
            raise Rejected(FAILURES["malformed_json"]) from None
        raise Rejected(_failure(problem.message, problem.param)) from None
    except InvalidChat as problem:
        raise Rejected(_failure(problem.message, problem.param)) from None
    return chat


def _failure(message: str, param: str | None) -> Failure:
    where = param or ""
    if where == "model":
        return FAILURES["invalid_model"]
    code = "invalid_messages" if where.startswith("messages") else "invalid_argument"
    return msgspec.structs.replace(FAILURES[code], message=message)


def _check_temperature(chat: QianfanChat) -> None:
    value = chat.temperature
    if chat.model.lower().startswith(_CLASSIC) and isinstance(value, float | int) and not 0 < value <= 1:
        raise InvalidChat(f"temperature {value} of {chat.model} must be in (0, 1.0]", "temperature")


def _check_messages(messages: list[Message]) -> None:
    for index, message in enumerate(messages):
        path = f"messages[{index}]"
        if message.role not in _ROLES:
            raise InvalidChat(f"the role of {path} must be one of {', '.join(_ROLES)}", path)
        foreign = [name for name in _FOREIGN if getattr(message, name) is not UNSET]
        if foreign:
            raise InvalidChat(f"{path} has the unknown field {foreign[0]}", path)
        if message.tool_calls is UNSET and message.content == "":
            raise InvalidChat(f"the content of {path} must not be empty", path)
    last = messages[-1].content
    if isinstance(last, str) and not last.strip(_BLANKS):
        raise InvalidChat("the content of the last message must not be blank", "messages")
