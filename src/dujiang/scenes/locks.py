"""Parameters of a request that a scene sets, and those that it does not let the caller set."""

from typing import Any

import msgspec

from dujiang.core.chat import ChatRequest
from dujiang.core.errors import Unprocessable
from dujiang.scenes.settings import VersionSettings

Parameters = tuple[tuple[str, Any], ...]
"""Names and values in the form that requests have them; None is unset."""

_OTHER_NAMES = {"max_tokens": "max_completion_tokens"}
_OLD_NAMES = {"tools": "functions", "tool_choice": "function_call"}
"""What OpenAI called them before, among the fields that travel through unread."""


def compile_parameters(settings: VersionSettings) -> Parameters:
    """The defaults of a version."""
    plain = msgspec.json.decode(msgspec.json.encode(settings.parameters))
    return tuple(plain.items())


def compile_locks(settings: VersionSettings, defaults: Parameters) -> Parameters:
    """What the caller may not set to anything else; None where it may not set it at all."""
    values = dict(defaults)
    return tuple((name, values.get(name)) for name in dict.fromkeys(settings.locks))


def is_set(request: ChatRequest, name: str) -> bool:
    other = _OTHER_NAMES.get(name)
    return getattr(request, name) is not None or (other is not None and getattr(request, other) is not None)


def check_locks(locks: Parameters, request: ChatRequest) -> None:
    """Raises `Unprocessable` naming the first locked parameter that the caller set to another value."""
    for name, value in locks:
        if any(own is not None and own != value for own in _own_values(request, name)):
            raise Unprocessable(
                f"The scene sets `{name}` itself: leave it out.", reason="locked_parameter", param=f"parameters.{name}"
            )


def _own_values(request: ChatRequest, name: str) -> tuple[Any, ...]:
    other = _OTHER_NAMES.get(name)
    old = _OLD_NAMES.get(name)
    return (
        getattr(request, name),
        getattr(request, other) if other is not None else None,
        request.extra.get(old) if old is not None and request.extra else None,
    )
