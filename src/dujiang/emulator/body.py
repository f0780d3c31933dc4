"""A request's JSON read into a struct, and what is wrong with it in terms that any vendor's error can be made of."""

import re
from typing import Literal, TypeVar

import msgspec
from msgspec.json import Decoder

Kind = Literal["json", "missing", "unknown", "type", "value"]

_Body = TypeVar("_Body")
_PROBLEM = re.compile(r"(?P<what>.*?)(?: - at `\$\.?(?P<where>.*)`)?")


class BadBody(Exception):
    """The body is not JSON (then `kind` is `json`), or is not what it must be at the path `param`."""

    def __init__(self, message: str, kind: Kind, param: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.kind: Kind = kind
        self.param = param


def decode(decoder: Decoder[_Body], body: bytes) -> _Body:
    """Raises `BadBody`."""
    try:
        return decoder.decode(body)
    except msgspec.ValidationError as problem:
        raise _explained(str(problem)) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as problem:
        raise BadBody(str(problem), "json") from None


def _explained(problem: str) -> BadBody:
    match = _PROBLEM.fullmatch(problem)
    what, where = (match["what"], match["where"] or "") if match else (problem, "")
    name = what.rpartition(" `")[2].rstrip("`")
    path = f"{where}.{name}".lstrip(".")
    if what.startswith("Object missing required field"):
        return BadBody(f"Missing required parameter: '{path}'.", "missing", path)
    if what.startswith("Object contains unknown field"):
        return BadBody(f"Unknown parameter: '{path}'.", "unknown", path)
    kind = "type" if ", got `" in what else "value"
    return BadBody(f"Invalid {kind} for '{where}': {what}.", kind, where or None)
