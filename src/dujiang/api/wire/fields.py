"""Fields that both public formats share, their limits, and the checks that types alone cannot make."""

from typing import Annotated, Any, Literal

from msgspec import Meta, Struct, ValidationError, convert

from dujiang.core.call import SceneChoice
from dujiang.core.chat import Message
from dujiang.core.errors import InvalidRequest, NotBuilt

Temperature = Annotated[float, Meta(ge=0, le=2)]
TopP = Annotated[float, Meta(ge=0, le=1)]
Penalty = Annotated[float, Meta(ge=-2, le=2)]
MaxTokens = Annotated[int, Meta(ge=1, le=10_000_000)]
Seed = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]
Stop = str | Annotated[list[str], Meta(max_length=16)]
TimeoutS = Annotated[float, Meta(gt=0, le=86_400)]
Identifier = Annotated[str, Meta(min_length=1, max_length=200)]
Tools = Annotated[list[dict[str, Any]], Meta(min_length=1, max_length=1024)]

MAX_REQUEST_ID_CHARS = 200


class UserInfo(Struct, frozen=True, forbid_unknown_fields=True):
    user_id: Identifier | None = None
    user_role: Identifier | None = None
    conversation_id: Identifier | None = None


class CacheControl(Struct, frozen=True, forbid_unknown_fields=True):
    mode: Literal["on", "off", "refresh", "only"] = "on"
    ttl_s: Annotated[float, Meta(gt=0)] | None = None


class _Function(Struct):
    name: str


class _Tool(Struct):
    type: Literal["function"]
    function: _Function


def check_request_id(request_id: str | None) -> None:
    """1 to 200 printable characters, or absent. Raises `InvalidRequest`."""
    if request_id is not None and not (0 < len(request_id) <= MAX_REQUEST_ID_CHARS and request_id.isprintable()):
        raise InvalidRequest("`request_id` must be 1 to 200 printable characters.", param="request_id")


def check_messages(messages: list[Message], param: str) -> None:
    """There is at least one message and each says something. Raises `InvalidRequest`."""
    if not messages:
        raise InvalidRequest("At least one message is required.", param=param)
    for n, message in enumerate(messages):
        if message.role == "tool" and not message.tool_call_id:
            raise InvalidRequest("A tool's message needs `tool_call_id`.", param=f"{param}[{n}].tool_call_id")
        if message.content is None and not (message.role == "assistant" and (message.tool_calls or message.refusal)):
            raise InvalidRequest("A message needs `content`.", param=f"{param}[{n}].content")


def check_tools(tools: list[dict[str, Any]] | None, param: str) -> None:
    """Every tool is a named function. Raises `InvalidRequest`."""
    for n, tool in enumerate(tools or ()):
        try:
            name = convert(tool, _Tool).function.name
        except ValidationError:
            name = ""
        if not name:
            raise InvalidRequest("A tool is a `function` with a `name`.", param=f"{param}[{n}].function")


def refuse_unbuilt(prefix: str, *, cache: CacheControl | None, explore: bool | None) -> None:
    """Per-call wishes whose feature is not built. What asks for nothing (`off`) passes. Raises `NotBuilt`."""
    if cache is not None and cache.mode != "off":
        raise NotBuilt("Caching is not built yet; leave `cache` out.", param=f"{prefix}cache")
    if explore:
        raise NotBuilt("Exploration is not built yet; leave `explore` out.", param=f"{prefix}explore")


def read_scene(prompt_id: str | None, variables: dict[str, Any] | None, prefix: str) -> SceneChoice | None:
    """`scene`, `scene@3` or `scene@label`. Raises `InvalidRequest` for variables without a scene."""
    if prompt_id is None:
        if variables:
            raise InvalidRequest("`variables` need a `prompt_id`.", param=f"{prefix}variables")
        return None
    name, _, choice = prompt_id.partition("@")
    if choice.isdecimal() and choice.isascii():
        return SceneChoice(name, version=int(choice[:9]), variables=variables or {})
    return SceneChoice(name, label=choice if "@" in prompt_id else None, variables=variables or {})
