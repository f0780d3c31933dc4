"""A chat request read as strictly as OpenAI reads it: what an adapter gets wrong must fail here, not at the vendor."""

import re
from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from dujiang.emulator.sample import BadSchema, sample

Text = str | UnsetType
Object = dict[str, Any] | UnsetType


class InvalidChat(Exception):
    """What is wrong with a request, in the terms of OpenAI's error body."""

    def __init__(self, message: str, param: str | None = None, code: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        self.code = code


class Part(Struct):
    """A piece of a message's content."""

    type: Literal["text", "image_url", "input_audio", "file", "refusal"]
    text: Text = UNSET


class CalledFunction(Struct, forbid_unknown_fields=True):
    name: str
    arguments: str


class ToolCall(Struct, forbid_unknown_fields=True):
    id: str
    type: Literal["function"]
    function: CalledFunction


class Message(Struct, forbid_unknown_fields=True):
    """One turn. `reasoning_content` and `reasoning` are not OpenAI's: vendors of its format want them back."""

    role: Literal["developer", "system", "user", "assistant", "tool", "function"]
    content: str | list[Part] | UnsetType | None = UNSET
    name: Text = UNSET
    tool_calls: list[ToolCall] | UnsetType = UNSET
    tool_call_id: Text = UNSET
    refusal: Text = UNSET
    function_call: Object = UNSET
    audio: Object = UNSET
    reasoning_content: Text = UNSET
    reasoning: Text = UNSET


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
    """The body of `POST /v1/chat/completions` (API schema 2.3.0). A null is an error wherever it is not a value."""

    model: Annotated[str, Meta(min_length=1)]
    messages: Annotated[list[Message], Meta(min_length=1)]
    stream: bool = False
    stream_options: StreamOptions | UnsetType = UNSET
    max_completion_tokens: Positive = UNSET
    max_tokens: Positive = UNSET
    temperature: Annotated[float, Meta(ge=0, le=2)] | UnsetType = UNSET
    top_p: Annotated[float, Meta(ge=0, le=1)] | UnsetType = UNSET
    n: Annotated[int, Meta(ge=1, le=128)] = 1
    stop: str | Annotated[list[str], Meta(max_length=4)] | UnsetType = UNSET
    presence_penalty: Penalty = UNSET
    frequency_penalty: Penalty = UNSET
    seed: int | UnsetType = UNSET
    logprobs: bool | UnsetType = UNSET
    top_logprobs: Annotated[int, Meta(ge=0, le=20)] | UnsetType = UNSET
    logit_bias: dict[str, Annotated[float, Meta(ge=-100, le=100)]] | UnsetType = UNSET
    response_format: ResponseFormat | UnsetType = UNSET
    tools: Annotated[list[Tool], Meta(min_length=1, max_length=128)] | UnsetType = UNSET
    tool_choice: Literal["none", "auto", "required"] | ToolChoice | UnsetType = UNSET
    parallel_tool_calls: bool | UnsetType = UNSET
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
    user: Text = UNSET
    safety_identifier: Text = UNSET
    prompt_cache_key: Text = UNSET
    prompt_cache_retention: Text = UNSET
    prompt_cache_options: Object = UNSET
    moderation: Object = UNSET

    @property
    def includes_usage(self) -> bool:
        return isinstance(self.stream_options, StreamOptions) and self.stream_options.include_usage

    @property
    def most_tokens(self) -> int | None:
        for limit in (self.max_completion_tokens, self.max_tokens):
            if isinstance(limit, int):
                return limit
        return None


class _Named(Struct):
    model: str = ""


_decoder = msgspec.json.Decoder(Chat)
_name_decoder = msgspec.json.Decoder(_Named)
_PROBLEM = re.compile(r"(?P<what>.*?)(?: - at `\$\.?(?P<where>.*)`)?")


def read_chat(body: bytes) -> Chat:
    """Raises `InvalidChat`."""
    try:
        chat = _decoder.decode(body)
    except msgspec.ValidationError as problem:
        raise _explained(str(problem)) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as problem:
        raise InvalidChat(f"We could not parse the JSON body of your request. ({problem})") from None
    _check_options(chat)
    _check_schemas(chat)
    _check_messages(chat.messages)
    return chat


def read_model(body: bytes) -> str:
    """The model that a request names, however broken the rest of it is; else an empty string."""
    try:
        return _name_decoder.decode(body).model
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return ""


def _explained(problem: str) -> InvalidChat:
    """OpenAI's message, param and code for what msgspec found."""
    match = _PROBLEM.fullmatch(problem)
    what, where = (match["what"], match["where"] or "") if match else (problem, "")
    name = what.rpartition(" `")[2].rstrip("`")
    path = f"{where}.{name}".lstrip(".")
    if what.startswith("Object missing required field"):
        return _missing(path)
    if what.startswith("Object contains unknown field"):
        return InvalidChat(f"Unknown parameter: '{path}'.", path, "unknown_parameter")
    is_type = ", got `" in what
    kind, code = ("type", "invalid_type") if is_type else ("value", "invalid_value")
    return InvalidChat(f"Invalid {kind} for '{where}': {what}.", where or None, code)


def _missing(path: str) -> InvalidChat:
    return InvalidChat(f"Missing required parameter: '{path}'.", path, "missing_required_parameter")


def _check_options(chat: Chat) -> None:
    if chat.stream_options is not UNSET and not chat.stream:
        message = "The 'stream_options' parameter is only allowed when 'stream' is enabled."
        raise InvalidChat(message, "stream_options")
    for name in ("tool_choice", "parallel_tool_calls"):
        if getattr(chat, name) is not UNSET and chat.tools is UNSET:
            raise InvalidChat(f"'{name}' is only allowed when 'tools' are specified.", name)
    if isinstance(chat.tool_choice, ToolChoice) and isinstance(chat.tools, list):
        wanted = chat.tool_choice.function.name
        if all(tool.function.name != wanted for tool in chat.tools):
            raise InvalidChat(f"Tool choice '{wanted}' not found in 'tools' parameter.", "tool_choice")
    if chat.top_logprobs is not UNSET and chat.logprobs is not True:
        raise InvalidChat("The 'top_logprobs' parameter is only allowed when 'logprobs' is enabled.", "top_logprobs")
    wanted = chat.response_format
    if isinstance(wanted, ResponseFormat) and wanted.type == "json_schema" and wanted.json_schema is UNSET:
        raise _missing("response_format.json_schema")


def _check_schemas(chat: Chat) -> None:
    """Every schema is one that an answer can be made for."""
    schemas: list[tuple[str, object]] = []
    if isinstance(chat.tools, list):
        schemas += [(f"tools[{i}].function.parameters", tool.function.parameters) for i, tool in enumerate(chat.tools)]
    if isinstance(chat.response_format, ResponseFormat) and isinstance(chat.response_format.json_schema, JsonSchema):
        schemas.append(("response_format.json_schema.schema", chat.response_format.json_schema.schema))
    for path, schema in schemas:
        try:
            sample(schema)
        except BadSchema as problem:
            raise InvalidChat(f"Invalid schema for '{path}'. {problem}", path, "invalid_function_parameters") from None


def _check_messages(messages: list[Message]) -> None:
    """Each kind of turn has what it needs, and every tool call its answer right behind it."""
    unanswered: set[str] = set()
    for index, message in enumerate(messages):
        if message.role == "tool":
            _check_tool_answer(message, index, unanswered)
            continue
        if unanswered:
            break
        _check_content(message, index)
        if isinstance(message.tool_calls, list):
            unanswered = {call.id for call in message.tool_calls}
    if unanswered:
        ids = ", ".join(sorted(unanswered))
        raise InvalidChat(
            "An assistant message with 'tool_calls' must be followed by tool messages responding to each "
            f"'tool_call_id'. The following tool_call_ids did not have response messages: {ids}",
            "messages",
        )


def _check_content(message: Message, index: int) -> None:
    path = f"messages[{index}]"
    calls = message.tool_calls is not UNSET or message.function_call is not UNSET
    if calls and message.role != "assistant":
        raise InvalidChat(f"'tool_calls' is only allowed in assistant messages: '{path}'.", path)
    if message.tool_calls == []:
        raise InvalidChat(f"Invalid '{path}.tool_calls': empty array.", f"{path}.tool_calls", "empty_array")
    if message.content is UNSET and not calls and message.refusal is UNSET and message.audio is UNSET:
        raise _missing(f"{path}.content")
    if message.content is None and not calls:
        name = f"{path}.content"
        raise InvalidChat(f"Invalid value for '{name}': expected a string, got null.", name)
    if isinstance(message.content, list):
        _check_parts(message.content, f"{path}.content")


def _check_parts(parts: list[Part], path: str) -> None:
    if not parts:
        raise InvalidChat(f"Invalid '{path}': empty array.", path, "empty_array")
    for index, part in enumerate(parts):
        if part.type == "text" and part.text is UNSET:
            raise _missing(f"{path}[{index}].text")


def _check_tool_answer(message: Message, index: int, unanswered: set[str]) -> None:
    path = f"messages[{index}]"
    for name in ("content", "tool_call_id"):
        if getattr(message, name) in (UNSET, None):
            raise _missing(f"{path}.{name}")
    if message.tool_call_id not in unanswered:
        rule = "messages with role 'tool' must be a response to a preceeding message with 'tool_calls'."
        raise InvalidChat(f"Invalid parameter: {rule}", f"{path}.role")
    unanswered.discard(str(message.tool_call_id))
