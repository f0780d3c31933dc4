"""Texts with `{{name}}` places. There is nothing else to them: no expressions, no second pass, nothing to execute."""

import re
from collections.abc import Mapping, Sequence

from msgspec import Struct

from dujiang.core.errors import Unprocessable

MAX_BYTES = 1024 * 1024
"""The most that the texts of a scene may grow to, in UTF-8, when its variables are filled in."""

_PLACE = re.compile(r"\{\{([A-Za-z_][A-Za-z0-9_]*)\}\}")


class Template(Struct, frozen=True):
    """A compiled text: every second of `parts` is the place of the next of `names`, the others are as they stand."""

    parts: tuple[str, ...]
    names: tuple[str, ...]
    literal_bytes: int

    def size(self, values: Mapping[str, str]) -> int:
        """The bytes of the filled text, known without building it."""
        size = self.literal_bytes
        for name in self.names:
            size += _size(values[name])
        return size

    def render(self, values: Mapping[str, str]) -> str:
        """The text with every place filled, once: what a value contains is never looked at again."""
        parts = list(self.parts)
        for n, name in enumerate(self.names):
            parts[2 * n + 1] = values[name]
        return "".join(parts)


def compile_template(text: str) -> Template:
    """`{{name}}` with a plain ASCII name is a place; every other character is itself, whatever it looks like."""
    parts = _PLACE.split(text)
    return Template(parts=tuple(parts), names=tuple(parts[1::2]), literal_bytes=sum(map(_size, parts[::2])))


def fill(templates: Sequence[Template], values: Mapping[str, str]) -> list[str]:
    """The texts of a scene. Raises `Unprocessable`, before any is built, when they are larger than `MAX_BYTES`."""
    size = 0
    for template in templates:
        size += template.size(values)
    if size > MAX_BYTES:
        raise Unprocessable(f"The scene grows beyond {MAX_BYTES} bytes: give its variables shorter values.")
    return [template.render(values) for template in templates]


def _size(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode())
