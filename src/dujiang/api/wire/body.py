"""Reading a JSON body into a typed structure, with errors that name the field."""

import difflib
import re
from collections.abc import Callable
from typing import Any, TypeVar, cast

import msgspec

from dujiang.core.errors import InvalidRequest

T = TypeVar("T")

FORBIDDEN_FIELDS = frozenset({"base_url", "api_base", "api_key", "headers", "extra_headers", "proxies"})
"""Fields that would let a caller choose where a call goes or with which credential: never accepted in a chat body."""

_FORBIDDEN_MARKS = (b'base_url"', b'api_base"', b'api_key"', b'headers"', b'proxies"', b"\\u00")
"""What a forbidden name shows itself by, or hides behind: an escaped letter."""
_SCHEMA_FIELDS = frozenset({"tools", "functions", "response_format"})
_PATH = re.compile(r" - at `\$\.?(.*)`$")
_UNKNOWN = re.compile(r"unknown field `(.*?)`")
_MISSING = re.compile(r"missing required field `(.*?)`")


def read(decode: Callable[[bytes], T], body: bytes, known: Callable[[str], tuple[str, ...]]) -> T:
    """Decode a body. `known(path)` gives the field names at a path, to suggest the nearest.

    Raises `InvalidRequest` with `param` for JSON that is broken, too deep, not UTF-8, or not of this shape.
    """
    for mark in _FORBIDDEN_MARKS:
        if mark in body:
            _refuse_forbidden(body)
            break
    try:
        return decode(body)
    except msgspec.ValidationError as error:
        raise _explain(str(error), known) from None
    except UnicodeDecodeError:
        raise InvalidRequest("The body is not valid UTF-8.", reason="invalid_utf8") from None
    except RecursionError:
        raise InvalidRequest("The body is nested too deeply.", reason="too_deep") from None
    except msgspec.DecodeError as error:
        raise InvalidRequest(f"The body is not valid JSON: {error}.", reason="invalid_json") from None


def _explain(text: str, known: Callable[[str], tuple[str, ...]]) -> InvalidRequest:
    found = _PATH.search(text)
    path = found.group(1) if found else ""
    message = text[: found.start()] if found else text
    unknown, missing = _UNKNOWN.search(message), _MISSING.search(message)
    if unknown:
        name = unknown.group(1)[:100]
        near = difflib.get_close_matches(name, known(path), n=1)
        hint = f" Did you mean `{near[0]}`?" if near else ""
        return InvalidRequest(f"Unknown field `{name}`.{hint}", reason="unknown_field", param=_join(path, name))
    if missing:
        name = missing.group(1)
        return InvalidRequest(f"The field `{name}` is required.", reason="missing_field", param=_join(path, name))
    return InvalidRequest(f"{message}.", reason="wrong_type", param=path or None)


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _refuse_forbidden(body: bytes) -> None:
    try:
        data = msgspec.json.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return
    todo: list[tuple[str, Any]] = [("", data)]
    while todo:
        path, value = todo.pop()
        if isinstance(value, dict):
            for name, inner in cast("dict[str, Any]", value).items():
                if name in FORBIDDEN_FIELDS:
                    raise InvalidRequest(
                        f"The field `{name}` is not accepted: where calls go is the operator's choice.",
                        reason="forbidden_field",
                        param=_join(path, name),
                    )
                if name not in _SCHEMA_FIELDS:
                    todo.append((_join(path, name), inner))
        elif isinstance(value, list):
            todo.extend((f"{path}[{n}]", inner) for n, inner in enumerate(cast("list[Any]", value)))
