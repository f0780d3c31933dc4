"""A V1 chat read as strictly as Baidu documents it: roles, order, lengths, and ranges that are not OpenAI's."""

from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from dujiang.emulator.body import BadBody, decode
from dujiang.emulator.sample import BadSchema, sample

_BLANKS = " \t\n\r\f\v"


class InvalidChat(Exception):
    """What is wrong with a request: one of V1's codes and its text."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


class FunctionCall(Struct, forbid_unknown_fields=True):
    name: str
    arguments: str
    thoughts: str | UnsetType = UNSET


class Message(Struct, forbid_unknown_fields=True):
    """One turn. What a function answers is a turn of the role `function`, in the place of the user's."""

    role: Literal["user", "assistant", "function"]
    content: str | UnsetType = UNSET
    name: str | UnsetType = UNSET
    function_call: FunctionCall | UnsetType = UNSET


class Function(Struct, forbid_unknown_fields=True):
    name: Annotated[str, Meta(min_length=1)]
    description: str
    parameters: dict[str, Any]
    responses: dict[str, Any] | UnsetType = UNSET
    examples: list[Any] | UnsetType = UNSET


class NamedFunction(Struct, forbid_unknown_fields=True):
    name: str


class ToolChoice(Struct, forbid_unknown_fields=True):
    type: Literal["function"]
    function: NamedFunction


class Chat(Struct, forbid_unknown_fields=True):
    """The body of `POST …/chat/{path}`. A null is an error everywhere."""

    messages: list[Message]
    stream: bool = False
    temperature: Annotated[float, Meta(gt=0, le=1)] | UnsetType = UNSET
    top_p: Annotated[float, Meta(ge=0, le=1)] | UnsetType = UNSET
    penalty_score: Annotated[float, Meta(ge=1, le=2)] | UnsetType = UNSET
    system: str | UnsetType = UNSET
    stop: Annotated[list[Annotated[str, Meta(max_length=20)]], Meta(max_length=4)] | UnsetType = UNSET
    max_output_tokens: Annotated[int, Meta(ge=2)] | UnsetType = UNSET
    disable_search: bool | UnsetType = UNSET
    enable_citation: bool | UnsetType = UNSET
    response_format: Literal["text", "json_object"] = "text"
    user_id: str | UnsetType = UNSET
    functions: list[Function] | UnsetType = UNSET
    tool_choice: ToolChoice | UnsetType = UNSET


_decoder = msgspec.json.Decoder(Chat)

_4_AND_35_8K = 20_000
_LONG_35_AND_SPEED_PRO = 516_096
_SPEED_128K = 507_904
_LITE_AND_SPEED_8K = 11_200
_SMALL = 24_000
_EARLY = 8_000
_OPEN_SOURCE = 4_800
MOST_CHARACTERS = {
    "completions_pro": _4_AND_35_8K,
    "completions_adv_pro": _4_AND_35_8K,
    "completions": _4_AND_35_8K,
    "ernie-4.0-8k-latest": _4_AND_35_8K,
    "ernie-4.0-turbo-8k": _4_AND_35_8K,
    "ernie_bot_8k": _4_AND_35_8K,
    "ernie-3.5-128k": _LONG_35_AND_SPEED_PRO,
    "ernie-speed-pro-128k": _LONG_35_AND_SPEED_PRO,
    "ernie-speed-128k": _SPEED_128K,
    "ernie_speed": _LITE_AND_SPEED_8K,
    "ernie-lite-8k": _LITE_AND_SPEED_8K,
    "eb-instant": _LITE_AND_SPEED_8K,
    "ernie-tiny-8k": _SMALL,
    "ernie-func-8k": _SMALL,
    "ernie-char-8k": _SMALL,
    "ernie-novel-8k": _SMALL,
    "ernie-speed-pro-8k": _SMALL,
    "ernie-lite-pro-8k": _SMALL,
    "ernie-3.5-4k-0205": _EARLY,
    "ernie-3.5-8k-0329": _EARLY,
    "llama_2_7b": _OPEN_SOURCE,
    "bloomz_7b1": _OPEN_SOURCE,
}
"""How many characters a path takes in all, system and messages together. Of other paths nothing is documented."""


def read_chat(body: bytes, path: str) -> Chat:
    """A chat for the model at a path. Raises `InvalidChat`."""
    try:
        chat = decode(_decoder, body)
    except BadBody as problem:
        raise InvalidChat(_code(problem), problem.message) from None
    _check_system(chat, path)
    _check_order(chat.messages)
    _check_contents(chat.messages)
    _check_functions(chat)
    _check_length(chat, path)
    return chat


def _code(problem: BadBody) -> str:
    if problem.kind == "json":
        return "336002"
    where = problem.param or ""
    return "336104" if where == "system" else "336003" if where.startswith("messages") else "336001"


def _check_system(chat: Chat, path: str) -> None:
    if not isinstance(chat.system, str):
        return
    if not chat.system.strip(_BLANKS):
        raise InvalidChat("336104", "system must not be blank")
    most = MOST_CHARACTERS.get(path)
    if most is not None and len(chat.system) > most:
        raise InvalidChat("336104", f"the max length of system is {most}")


def _check_order(messages: list[Message]) -> None:
    """An odd number of turns: the user or a function, the assistant, and so on; a function only after its call."""
    if not messages:
        raise InvalidChat("336003", "messages must not be empty")
    if len(messages) % 2 == 0:
        raise InvalidChat("336003", "messages length must be odd")
    for index, message in enumerate(messages):
        if (message.role == "assistant") != (index % 2 == 1):
            wanted = "assistant" if index % 2 else "user or function"
            raise InvalidChat("336003", f"the role of messages[{index}] must be {wanted}")
        if message.role == "function":
            _check_result(messages, index)


def _check_result(messages: list[Message], index: int) -> None:
    """The turn of a function has the name of the call that it answers."""
    name = messages[index].name
    if not isinstance(name, str) or not name:
        raise InvalidChat("336003", f"messages[{index}] of role function must have a name")
    call = messages[index - 1].function_call if index else UNSET
    if not isinstance(call, FunctionCall) or call.name != name:
        raise InvalidChat("336003", f"messages[{index}] must follow the function_call of {name}")


def _check_contents(messages: list[Message]) -> None:
    """Only the assistant's turn that calls a function may be without content, and the last turn may not be blank."""
    for index, message in enumerate(messages):
        calls = message.function_call is not UNSET
        if calls and message.role != "assistant":
            raise InvalidChat("336003", f"messages[{index}] of role {message.role} must not have a function_call")
        if not calls and not (isinstance(message.content, str) and message.content):
            raise InvalidChat("336003", f"the content of messages[{index}] must not be empty")
    if not str(messages[-1].content).strip(_BLANKS):
        raise InvalidChat("336003", "the content of the last message must not be blank")


def _check_functions(chat: Chat) -> None:
    """A chosen function exists, and every schema is one that an answer can be made for."""
    functions = chat.functions if isinstance(chat.functions, list) else []
    if isinstance(chat.tool_choice, ToolChoice):
        wanted = chat.tool_choice.function.name
        if all(function.name != wanted for function in functions):
            raise InvalidChat("336001", f"tool_choice {wanted} is not one of functions")
    for function in functions:
        try:
            sample(function.parameters)
        except BadSchema as problem:
            raise InvalidChat("336001", f"the parameters of {function.name} are no JSON Schema: {problem}") from None


def _check_length(chat: Chat, path: str) -> None:
    most = MOST_CHARACTERS.get(path)
    texts = [chat.system, *(message.content for message in chat.messages)]
    if most is not None and sum(len(text) for text in texts if isinstance(text, str)) > most:
        raise InvalidChat("336007", f"the max input characters is {most}")
