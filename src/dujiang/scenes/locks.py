"""Parameters of a request that a scene sets, and those that it does not let the caller set."""

from collections.abc import Container, Iterable, Mapping
from typing import Any

import msgspec
from msgspec import Struct

from dujiang.core.chat import ChatRequest
from dujiang.core.errors import Unprocessable
from dujiang.scenes.settings import VersionSettings

Parameters = tuple[tuple[str, Any], ...]
"""Names and values in the form that requests have them; None is unset."""

_OTHER_NAMES = {"max_tokens": "max_completion_tokens"}
_OLD_NAMES = {"functions": "tools", "function_call": "tool_choice"}
"""What OpenAI called parameters before, among the fields that travel through unread."""


class Lock(Struct, frozen=True):
    """A parameter, and the only value that the caller may give it; None where it may give none."""

    name: str
    value: Any
    other_name: str | None = None


def compile_parameters(settings: VersionSettings) -> Parameters:
    """The defaults of a version."""
    plain = msgspec.json.decode(msgspec.json.encode(settings.parameters))
    return tuple(plain.items())


def compile_locks(values: Parameters, names: Iterable[str]) -> tuple[Lock, ...]:
    """The locks of the parameters `names`, of which `values` has some."""
    given = dict(values)
    return tuple(Lock(name, given.get(name), _OTHER_NAMES.get(name)) for name in dict.fromkeys(names))


def is_set(request: ChatRequest, name: str) -> bool:
    """Whether the caller gave a parameter, by whichever of its names."""
    other = _OTHER_NAMES.get(name)
    return getattr(request, name) is not None or (other is not None and getattr(request, other) is not None)


def check_locks(locks: tuple[Lock, ...], request: ChatRequest) -> None:
    """Raises `Unprocessable` naming the first locked parameter that the caller gave another value."""
    for lock in locks:
        _check(lock, getattr(request, lock.name))
        if lock.other_name is not None:
            _check(lock, getattr(request, lock.other_name))
    if request.extra:
        _check_old_names({lock.name for lock in locks}, request.extra)


def _check(lock: Lock, own: Any) -> None:
    if own is not None and own != lock.value:
        raise _locked(lock.name)


def _check_old_names(locked: Container[str], extra: Mapping[str, Any]) -> None:
    for old, name in _OLD_NAMES.items():
        if name in locked and extra.get(old) is not None:
            raise _locked(name)


def _locked(name: str) -> Unprocessable:
    return Unprocessable(
        f"The scene sets `{name}` itself: leave it out.", reason="locked_parameter", param=f"parameters.{name}"
    )
