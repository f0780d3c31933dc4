"""What is wrong with a configuration document, and where."""

import json
import re

from msgspec import Struct

_PLAIN_KEY = re.compile(r"[^\s\[\]\"']{1,80}\Z")


class Problem(Struct, frozen=True):
    """`path` leads there from the root, like `providers.openai.credentials[0].secret`; the root's own is empty."""

    path: str
    message: str

    def __str__(self) -> str:
        return f"{self.path}: {self.message}" if self.path else self.message

    def under(self, root: str) -> "Problem":
        """The same problem seen from where `root` is a path."""
        separator = "" if not self.path or self.path.startswith("[") else "."
        return Problem(f"{root}{separator}{self.path}", self.message)


def at(path: str, key: str | int) -> str:
    """The path of a key or an item of what is at `path`. Keys that would blur the path are quoted, long ones cut."""
    if isinstance(key, int):
        return f"{path}[{key}]"
    if _PLAIN_KEY.match(key) and key.isprintable():
        return f"{path}.{key}" if path else key
    return f"{path}[{json.dumps(shortened(key), ensure_ascii=False)}]"


def shortened(text: str, length: int = 80) -> str:
    """At most `length` characters of a text, without what would disturb a terminal."""
    visible = "".join(letter if letter.isprintable() else "�" for letter in text[: length + 1])
    return visible if len(visible) <= length else visible[: length - 1] + "…"
