"""Texts with `{{name}}` places. There is nothing else to them: no expressions, no second pass, nothing to execute."""

import re
from collections.abc import Iterable, Mapping

from msgspec import Struct

from dujiang.core.errors import Unprocessable

MAX_BYTES = 1024 * 1024
"""The most that the texts of a scene may grow to, in UTF-8, when its variables are filled in."""

_PLACE = re.compile(r"\{\{([A-Za-z_][A-Za-z0-9_]*)\}\}")


class Template(Struct, frozen=True):
    """A compiled text: `literals[0]`, the value of `names[0]`, `literals[1]`, … always one literal more than names."""

    literals: tuple[str, ...]
    names: tuple[str, ...]
    literal_bytes: int

    def size(self, values: Mapping[str, str]) -> int:
        """The bytes of the filled text, known without building it."""
        return self.literal_bytes + sum(_size(values[name]) for name in self.names)

    def render(self, values: Mapping[str, str]) -> str:
        """The text with every place filled, once: what a value contains is never looked at again."""
        if not self.names:
            return self.literals[0]
        parts = [self.literals[0]]
        for name, literal in zip(self.names, self.literals[1:], strict=True):
            parts += (values[name], literal)
        return "".join(parts)


def compile_template(text: str) -> Template:
    """`{{name}}` with a plain ASCII name is a place; every other character is itself, whatever it looks like."""
    parts = _PLACE.split(text)
    literals = tuple(parts[::2])
    return Template(literals=literals, names=tuple(parts[1::2]), literal_bytes=sum(map(_size, literals)))


def fill(templates: Iterable[Template], values: Mapping[str, str]) -> list[str]:
    """The texts of a scene. Raises `Unprocessable`, before any is built, when they are larger than `MAX_BYTES`."""
    wanted = tuple(templates)
    if sum(template.size(values) for template in wanted) > MAX_BYTES:
        raise Unprocessable(f"The scene grows beyond {MAX_BYTES} bytes: give its variables shorter values.")
    return [template.render(values) for template in wanted]


def _size(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode())
