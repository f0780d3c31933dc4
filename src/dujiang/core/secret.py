"""A text that must not be seen: keys of providers, signing secrets."""

import hmac
import re
from typing import Any, NoReturn

MASK = "***"

STORED = re.compile(r"secret:(?P<name>\w[\w.-]*)")
"""A secret that is a reference to the table of encrypted secrets."""

SEALED = "sealed-"
"""How the names of stored secrets begin that stand in the place of a literal one."""


class Secret:
    """Prints as `***` in every form; the text comes out by `reveal()` alone, at the place that sends or stores it.

    Until it is revealed and expanded it may hold a reference: `${NAME}` or `secret:NAME`.
    """

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        return self._text

    def __repr__(self) -> str:
        return MASK

    def __bool__(self) -> bool:
        return bool(self._text)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and hmac.compare_digest(self._text.encode(), other._text.encode())

    def __hash__(self) -> int:
        return hash(self._text)

    def __reduce__(self) -> NoReturn:
        raise TypeError("a secret is not pickled")


def stored_name(text: str) -> str | None:
    """The name in `secret:NAME`, None for any other text."""
    match = STORED.fullmatch(text)
    return match["name"] if match else None


def read_secret(type_: type[Any], value: Any) -> Secret:
    """The `dec_hook` with which msgspec reads a `Secret`."""
    if type_ is Secret and isinstance(value, str):
        return Secret(value)
    raise NotImplementedError(f"{type_.__name__} has no reader")
