"""A chat request read as strictly as OpenAI reads it: what an adapter gets wrong must fail here, not at the vendor."""

from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from dujiang.emulator.body import BadBody, Kind, decode
from dujiang.emulator.openai.message import InvalidChat, Message, Object, Text, check_messages, missing
from dujiang.emulator.sample import BadSchema, sample


class Function(Struct, forbid_unknown_fields=True):
    name: Annotated[str, Meta(pattern=r"^[a-zA-Z0-9_-]{1,64}$")]
    description: Text = UNSET
    parameters: Object = UNSET
    strict: bool | UnsetType | None = UNSET


class Tool(Struct, forbid_unknown_fields=True):
    type: Literal["function"]
    function: Function


class NamedFunction(Struct, forbid_unknown_fields=True):
    name: str


class ToolChoice(Struct, forbid_unknown_fields=True):
    type: Literal["function"]
    function: NamedFunction


class JsonSchema(Struct, forbid_unknown_fields=True):
    name: Annotated[str, Meta(pattern=r"^[a-zA-Z0-9_-]{1,64}$")]
    description: Text = UNSET
    schema: Object = UNSET
    strict: bool | UnsetType | None = UNSET


class ResponseFormat(Struct, forbid_unknown_fields=True):
    type: Literal["text", "json_object", "json_schema"]
    json_schema: JsonSchema | UnsetType = UNSET


class StreamOptions(Struct, forbid_unknown_fields=True):
    include_usage: bool = False
    include_obfuscation: bool = False


Penalty = Annotated[float, Meta(ge=-2, le=2)] | UnsetType
Positive = Annotated[int, Meta(ge=1)] | UnsetType


class Chat(Struct, forbid_unknown_fields=True):
    """What every vendor of OpenAI's format takes. A null is an error wherever it is not a value."""

    model: Annotated[str, Meta(min_length=1)]
    messages: Annotated[list[Message], Meta(min_length=1)]
    stream: bool = False
    max_completion_tokens: Positive = UNSET
    max_tokens: Positive = UNSET
    temperature: Annotated[float, Meta(ge=0, le=2)] | UnsetType = UNSET
    top_p: Annotated[float, Meta(ge=0, le=1)] | UnsetType = UNSET
    presence_penalty: Penalty = UNSET
    frequency_penalty: Penalty = UNSET
    response_format: ResponseFormat | UnsetType = UNSET
    tools: Annotated[list[Tool], Meta(min_length=1, max_length=128)] | UnsetType = UNSET
    tool_choice: Literal["none", "auto", "required"] | ToolChoice | UnsetType = UNSET
    parallel_tool_calls: bool | UnsetType = UNSET
    user: Text = UNSET

    @property
    def most_tokens(self) -> int | None:
        for limit in (self.max_completion_tokens, self.max_tokens):
            if isinstance(limit, int):
                return limit
        return None


class OpenAiChat(Chat, forbid_unknown_fields=True):
    """The body of `POST /v1/chat/completions` (API schema 2.3.0)."""

    stream_options: StreamOptions | UnsetType = UNSET
    n: Annotated[int, Meta(ge=1, le=128)] = 1
    stop: str | Annotated[list[str], Meta(max_length=4)] | UnsetType = UNSET
    seed: int | UnsetType = UNSET
    logprobs: bool | UnsetType = UNSET
    top_logprobs: Annotated[int, Meta(ge=0, le=20)] | UnsetType = UNSET
    logit_bias: dict[str, Annotated[float, Meta(ge=-100, le=100)]] | UnsetType = UNSET
    functions: list[dict[str, Any]] | UnsetType = UNSET
    function_call: str | dict[str, Any] | UnsetType = UNSET
    reasoning_effort: Text = UNSET
    verbosity: Text = UNSET
    service_tier: Text = UNSET
    modalities: list[str] | UnsetType = UNSET
    audio: Object = UNSET
    prediction: Object = UNSET
    web_search_options: Object = UNSET
    metadata: dict[str, str] | UnsetType = UNSET
    store: bool | UnsetType = UNSET
    safety_identifier: Text = UNSET
    prompt_cache_key: Text = UNSET
    prompt_cache_retention: Text = UNSET
    prompt_cache_options: Object = UNSET
    moderation: Object = UNSET

    @property
    def includes_usage(self) -> bool:
        return isinstance(self.stream_options, StreamOptions) and self.stream_options.include_usage


class _Named(Struct):
    model: str = ""


_decoder = msgspec.json.Decoder(OpenAiChat)
_name_decoder = msgspec.json.Decoder(_Named)
_CODES: dict[Kind, str | None] = {
    "json": None,
    "missing": "missing_required_parameter",
    "unknown": "unknown_parameter",
    "type": "invalid_type",
    "value": "invalid_value",
}


def read_chat(body: bytes) -> OpenAiChat:
    """Raises `InvalidChat`."""
    try:
        chat = decode(_decoder, body)
    except BadBody as problem:
        raise InvalidChat(_message(problem), problem.param, _CODES[problem.kind]) from None
    if chat.stream_options is not UNSET and not chat.stream:
        message = "The 'stream_options' parameter is only allowed when 'stream' is enabled."
        raise InvalidChat(message, "stream_options")
    if chat.top_logprobs is not UNSET and chat.logprobs is not True:
        raise InvalidChat("The 'top_logprobs' parameter is only allowed when 'logprobs' is enabled.", "top_logprobs")
    check_chat(chat)
    return chat


def read_model(body: bytes) -> str:
    """The model that a request names, however broken the rest of it is; else an empty string."""
    try:
        return decode(_name_decoder, body).model
    except BadBody:
        return ""


def check_chat(chat: Chat) -> None:
    """What no single field can tell: which go together, schemas, the order of messages. Raises `InvalidChat`."""
    _check_tools(chat)
    _check_schemas(chat)
    check_messages(chat.messages)


def _message(problem: BadBody) -> str:
    if problem.kind == "json":
        return f"We could not parse the JSON body of your request. ({problem.message})"
    return problem.message


def _check_tools(chat: Chat) -> None:
    for name in ("tool_choice", "parallel_tool_calls"):
        if getattr(chat, name) is not UNSET and chat.tools is UNSET:
            raise InvalidChat(f"'{name}' is only allowed when 'tools' are specified.", name)
    if isinstance(chat.tool_choice, ToolChoice) and isinstance(chat.tools, list):
        wanted = chat.tool_choice.function.name
        if all(tool.function.name != wanted for tool in chat.tools):
            raise InvalidChat(f"Tool choice '{wanted}' not found in 'tools' parameter.", "tool_choice")


def _check_schemas(chat: Chat) -> None:
    """Every schema is one that an answer can be made for."""
    schemas: list[tuple[str, object]] = []
    if isinstance(chat.tools, list):
        schemas += [(f"tools[{i}].function.parameters", tool.function.parameters) for i, tool in enumerate(chat.tools)]
    wanted = chat.response_format
    if isinstance(wanted, ResponseFormat) and wanted.type == "json_schema":
        if not isinstance(wanted.json_schema, JsonSchema):
            raise missing("response_format.json_schema")
        schemas.append(("response_format.json_schema.schema", wanted.json_schema.schema))
    for path, schema in schemas:
        try:
            sample(schema)
        except BadSchema as problem:
            raise InvalidChat(f"Invalid schema for '{path}'. {problem}", path, "invalid_function_parameters") from None
