"""Plain values as the settings of one thing: a body, or the options of a command."""

from typing import Any, TypeVar

import msgspec
from msgspec import Struct

from dujiang.config.problems import Problems
from dujiang.config.shape import sound_part

T = TypeVar("T", bound=Struct)


def settings_of(tree: dict[str, Any], kind: type[T], what: str = "body") -> T:
    """Raises `InvalidDocument` with every problem and its path; unknown keys are one."""
    problems = Problems()
    sound = sound_part(tree, kind, problems)
    problems.refuse_if_any(what)
    return msgspec.convert(sound, kind)


def patched(known: dict[str, Any], patch: dict[str, Any], kind: type[T], what: str = "body") -> T:
    """What is known with the fields of a patch in their place, those of `limits` one by one. As `settings_of`."""
    limits = patch.get("limits")
    if isinstance(limits, dict):
        patch = {**patch, "limits": {**known["limits"], **limits}}
    return settings_of({**known, **patch}, kind, what)
