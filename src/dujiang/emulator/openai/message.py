"""The messages of a chat as OpenAI has them, and the rules for their order."""

from typing import Any, Literal

from msgspec import UNSET, Struct, UnsetType

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


def missing(path: str) -> InvalidChat:
    return InvalidChat(f"Missing required parameter: '{path}'.", path, "missing_required_parameter")


def check_messages(messages: list[Message]) -> None:
    """Each kind of turn has what it needs, and every tool call its answer right behind it. Raises `InvalidChat`."""
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
        raise missing(f"{path}.content")
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
            raise missing(f"{path}[{index}].text")


def _check_tool_answer(message: Message, index: int, unanswered: set[str]) -> None:
    path = f"messages[{index}]"
    for name in ("content", "tool_call_id"):
        if getattr(message, name) in (UNSET, None):
            raise missing(f"{path}.{name}")
    if message.tool_call_id not in unanswered:
        rule = "messages with role 'tool' must be a response to a preceeding message with 'tool_calls'."
        raise InvalidChat(f"Invalid parameter: {rule}", f"{path}.role")
    unanswered.discard(str(message.tool_call_id))
