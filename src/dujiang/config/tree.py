"""From the bytes of a document to a tree of plain values, within limits."""

import json
from math import isfinite
from pathlib import PurePath
from typing import Any, Literal, NoReturn, cast

from dujiang.config.places import Place, path_of
from dujiang.config.problems import Problems
from dujiang.config.strict_yaml import MAX_DEPTH, read_yaml

MAX_BYTES = 16 * 1024 * 1024

Format = Literal["yaml", "json", "auto"]


def format_of(path: PurePath) -> Format:
    """The format that a file's name promises."""
    formats: dict[str, Format] = {".json": "json", ".yaml": "yaml", ".yml": "yaml"}
    return formats.get(path.suffix.lower(), "auto")


def read_tree(text: bytes, format: Format) -> dict[str, Any]:
    """The document's tree; `auto` takes a text that starts with `{` for JSON. Raises `InvalidDocument`."""
    problems = Problems()
    tree = _parse(_decode(text, problems), format, problems)
    problems.refuse_if_any()
    _walk(tree, problems)
    if not isinstance(tree, dict):
        problems.add("", "must be a mapping of sections")
    problems.refuse_if_any()
    return cast("dict[str, Any]", tree)


def _decode(text: bytes, problems: Problems) -> str:
    if len(text) > MAX_BYTES:
        problems.add("", f"is larger than {MAX_BYTES // 1024 // 1024} MiB")
        return ""
    try:
        return text.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        problems.add("", f"is not UTF-8: {error.reason} at byte {error.start}")
        return ""


def _parse(text: str, format: Format, problems: Problems) -> Any:
    if format == "json" or (format == "auto" and text.lstrip().startswith("{")):
        return _read_json(text, problems)
    return read_yaml(text, problems)


class _Object(dict[str, Any]):
    """A JSON object that remembers the keys it was given twice."""

    repeated: tuple[str, ...] = ()


def _read_json(text: str, problems: Problems) -> Any:
    if not text.strip():
        return {}
    try:
        return json.loads(text, object_pairs_hook=_object, parse_constant=_refuse_constant)
    except json.JSONDecodeError as error:
        problems.add("", f"is not JSON: {error.msg} (line {error.lineno}, column {error.colno})")
    except RecursionError:
        problems.add("", f"is nested more than {MAX_DEPTH} levels deep")
    except ValueError:
        problems.add("", "is not JSON: it holds a number that is none, or one that is too long")
    return {}


def _object(pairs: list[tuple[str, Any]]) -> _Object:
    made = _Object(pairs)
    if len(made) < len(pairs):
        seen: set[str] = set()
        made.repeated = tuple(key for key, _ in pairs if key in seen or seen.add(key))
    return made


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(name)


def _walk(tree: Any, problems: Problems) -> None:
    """Find what no part of a document may be: too deep, twice the same key, text that is not Unicode."""
    pending: list[tuple[Any, Place, int]] = [(tree, None, 0)]
    while pending and not problems.is_full:
        value, place, depth = pending.pop()
        if isinstance(value, dict | list) and depth >= MAX_DEPTH:
            problems.add(path_of(place), f"is nested more than {MAX_DEPTH} levels deep")
        elif isinstance(value, dict):
            for key in value.repeated if isinstance(value, _Object) else ():
                problems.add(path_of((place, key)), "is there twice")
            for key, item in cast("dict[str, Any]", value).items():
                _check_text(key, place, problems)
                pending.append((item, (place, key), depth + 1))
        elif isinstance(value, list):
            pending += ((item, (place, n), depth + 1) for n, item in enumerate(cast("list[Any]", value)))
        elif isinstance(value, str):
            _check_text(value, place, problems)
        elif isinstance(value, float) and not isfinite(value):
            problems.add(path_of(place), "expected a finite number")


def _check_text(text: str, place: Place, problems: Problems) -> None:
    if "\0" in text:
        problems.add(path_of(place), "holds a NUL character")
    if text.isascii():
        return
    try:
        text.encode()
    except UnicodeEncodeError:
        problems.add(path_of(place), "holds half of a surrogate pair, which is no character")
