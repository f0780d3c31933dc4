"""Conversations as ERNIE V1 takes them: `system` apart, then user and assistant in turn, from a user to a user.

Nothing that was said is lost; what cannot be said so is refused.
"""

from typing import Any

from msgspec import Struct, ValidationError, convert

from dujiang.core.chat import Message
from dujiang.core.errors import InvalidRequest

BEFORE = "（以下接续之前的对话）"
"""Stands before a history that begins with the assistant."""

GO_ON = "请继续。"
"""Stands after a history that ends with the assistant, which other APIs take as "go on"."""

NO_OUTPUT = "（无输出）"
"""Stands for the empty result of a function: V1 takes no blank content."""

_BLANK = " \n\r\t\f\v"


class Turn(Struct, omit_defaults=True):
    """One message of V1. `name` is a function's; `function_call` what the assistant called."""

    role: str
    content: str
    name: str | None = None
    function_call: dict[str, Any] | None = None


class _Function(Struct):
    name: str
    arguments: str = ""


class _ToolCall(Struct):
    function: _Function
    id: str = ""


def to_turns(messages: list[Message]) -> tuple[str | None, list[Turn]]:
    """The system text and the turns.

    Messages of one role in a row become one, with a blank line between; blank ones say nothing and go. Raises
    `InvalidRequest` for what V1 has no form for: images, several calls at once, a result without its call.
    """
    system: list[str] = []
    turns: list[Turn] = []
    calls: dict[str, str] = {}
    for n, message in enumerate(messages):
        where = f"messages[{n}]"
        if message.role in ("system", "developer"):
            text = _text_of(message, where)
            if text.strip(_BLANK):
                system.append(text)
            continue
        turn = _turn(message, calls, where)
        is_last_word = turn.role == "user" and n == len(messages) - 1
        if turn.content.strip(_BLANK) or turn.function_call or is_last_word:
            _append(turns, turn, where)
    if turns and turns[0].role == "assistant":
        turns.insert(0, Turn("user", BEFORE))
    if turns and turns[-1].role == "assistant":
        turns.append(Turn("user", GO_ON))
    if not turns:
        raise InvalidRequest("ERNIE needs a message of the user.", reason="messages", param="messages")
    if not turns[-1].content.strip(_BLANK):
        raise InvalidRequest("The last message is blank, which ERNIE refuses.", reason="messages", param="messages")
    return "\n\n".join(system) or None, turns


def _turn(message: Message, calls: dict[str, str], where: str) -> Turn:
    text = _text_of(message, where)
    if message.role in ("tool", "function"):
        name = calls.get(message.tool_call_id or "") or message.name
        if not name:
            raise InvalidRequest(
                "ERNIE needs the name of the function whose result this is: send the call before it, or `name`.",
                param=f"{where}.tool_call_id",
            )
        return Turn("function", text if text.strip(_BLANK) else NO_OUTPUT, name=name)
    if message.role == "user":
        return Turn("user", text)
    if message.tool_calls:
        return Turn("assistant", text, function_call=_only_call(message.tool_calls, calls, where))
    return Turn("assistant", text or (message.refusal or ""))


def _only_call(tool_calls: list[dict[str, Any]], calls: dict[str, str], where: str) -> dict[str, Any]:
    if len(tool_calls) > 1:
        raise InvalidRequest("ERNIE takes one tool call in a message.", param=f"{where}.tool_calls")
    try:
        call = convert(tool_calls[0], _ToolCall)
    except ValidationError as error:
        where = f"{where}.tool_calls[0].function"
        raise InvalidRequest("A tool call needs the name of its function.", param=where) from error
    calls[call.id] = call.function.name
    return {"name": call.function.name, "arguments": call.function.arguments or "{}"}


def _append(turns: list[Turn], turn: Turn, where: str) -> None:
    last = turns[-1] if turns else None
    if last is None:
        if turn.role == "function":
            raise InvalidRequest("A function's result needs its call before it.", param=f"{where}.role")
        turns.append(turn)
    elif turn.role == last.role and turn.role != "function" and not (turn.function_call or last.function_call):
        last.content = "\n\n".join(text for text in (last.content, turn.content) if text)
    elif _side(turn.role) != _side(last.role):
        turns.append(turn)
    elif turn.role == "assistant":
        raise InvalidRequest("ERNIE takes no text beside a tool call.", param=f"{where}.tool_calls")
    else:
        raise InvalidRequest(
            "After a function's result ERNIE needs the assistant's turn.", reason="messages", param=f"{where}.role"
        )


def _side(role: str) -> str:
    return "assistant" if role == "assistant" else "user"


def _text_of(message: Message, where: str) -> str:
    content = message.content
    if content is None:
        return ""
    if isinstance(content, str):
        return content
    texts: list[str] = []
    for n, part in enumerate(content):
        if part.get("type") not in ("text", "refusal"):
            raise InvalidRequest(
                "This generation of ERNIE reads text only; use a model of Qianfan V2 for images.",
                param=f"{where}.content[{n}]",
            )
        texts.append(str(part.get("text") or part.get("refusal") or ""))
    return "\n".join(texts)
