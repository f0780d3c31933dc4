"""Tools for a model whose engine has none: a small model writes its call as JSON text, and a grammar can make it."""

import re
from typing import Any, cast

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from dujiang.core.chat import ChatRequest
from dujiang.core.ids import new_id

_FENCE = re.compile(r"\s*```(?:json)?\s*(\{.*\})\s*```\s*\Z", re.DOTALL)


class _Call(Struct):
    name: str
    arguments: dict[str, Any]


_read_call = msgspec.json.Decoder(_Call).decode


def constrain(request: ChatRequest) -> ChatRequest:
    """Bind the answer to a call by a JSON schema where the caller requires one; leave it free for `auto`.

    `none` takes the tools away. A schema of the caller's own is left alone.
    """
    choice = request.tool_choice
    if choice == "none":
        return replace(request, tools=None, tool_choice=None)
    names = _required(request)
    if names is None or request.response_format is not None:
        return replace(request, tool_choice=None)
    calls = [
        {
            "type": "object",
            "properties": {"name": {"const": tool["function"]["name"]}, "arguments": _parameters(tool)},
            "required": ["name", "arguments"],
            "additionalProperties": False,
        }
        for tool in request.tools or ()
        if tool["function"]["name"] in names
    ]
    form = {"type": "json_schema", "json_schema": {"name": "call", "strict": True, "schema": {"anyOf": calls}}}
    return replace(request, tool_choice=None, response_format=form)


def read_tool_call(text: str, request: ChatRequest) -> dict[str, Any] | None:
    """The call that an answer's text is, bare or in a fence, in OpenAI's form; None for any other text."""
    fenced = _FENCE.match(text)
    try:
        found = _read_call(fenced.group(1) if fenced else text)
    except (msgspec.DecodeError, RecursionError):
        return None
    if found.name not in {tool["function"]["name"] for tool in request.tools or ()}:
        return None
    made = {"name": found.name, "arguments": msgspec.json.encode(found.arguments).decode()}
    return {"index": 0, "id": f"call_{new_id().replace('-', '')}", "type": "function", "function": made}


def _required(request: ChatRequest) -> set[str] | None:
    """The names of which one must be called; None when the model may choose."""
    choice = request.tool_choice
    if isinstance(choice, dict):
        function = choice.get("function")
        name = cast("dict[str, Any]", function).get("name") if isinstance(function, dict) else None
        return {name} if isinstance(name, str) else None
    if choice == "required":
        return {tool["function"]["name"] for tool in request.tools or ()}
    return None


def _parameters(tool: dict[str, Any]) -> dict[str, Any]:
    return tool["function"].get("parameters") or {"type": "object"}
