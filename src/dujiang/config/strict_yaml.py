"""YAML without its traps: one document of plain mappings, lists and scalars.

No anchors, aliases, tags or merge keys, no key twice, keys are text, and scalars follow the core schema of YAML 1.2.2
(§10.3), narrowed: `on`, `yes`, `0613`, `12:30` and dates are text.
"""

import re
from typing import Any, cast

import yaml

from dujiang.config.problems import Problems
from dujiang.core.problem import at, shortened

MAX_DEPTH = 64

_LOADER = cast("type[yaml.SafeLoader]", getattr(yaml, "CSafeLoader", yaml.SafeLoader))
_NOTHING = object()

_CONSTANTS = {
    "": None,
    "~": None,
    "null": None,
    "Null": None,
    "NULL": None,
    "true": True,
    "True": True,
    "TRUE": True,
    "false": False,
    "False": False,
    "FALSE": False,
}
_INTEGER = re.compile(r"[-+]?(?:0|[1-9][0-9]{0,17})")
_NUMBER = re.compile(r"[-+]?(?=[.0-9])(?:0|[1-9][0-9]{0,17})?(?:\.[0-9]{1,40})?(?:[eE][-+]?[0-9]{1,3})?")


def read_yaml(text: str, problems: Problems) -> Any:
    """The tree of a YAML text; an empty text is an empty mapping. What is read after a problem is of no use."""
    builder = _Builder(problems)
    try:
        for event in yaml.parse(text, Loader=_LOADER):
            if not builder.take(event):
                break
    except yaml.YAMLError as error:
        problems.add("", f"is not YAML: {_reason(error)}")
    return {} if builder.root is None else builder.root


class _Frame:
    """A mapping or list that is being filled; `key` is the mapping's key whose value comes next."""

    __slots__ = ("container", "key", "path")

    def __init__(self, container: "dict[str, Any] | list[Any]", path: str) -> None:
        self.container = container
        self.path = path
        self.key: Any = _NOTHING

    @property
    def value_path(self) -> str:
        return at(self.path, len(self.container) if isinstance(self.container, list) else str(self.key))


class _Builder:
    def __init__(self, problems: Problems) -> None:
        self.root: Any = {}
        self._problems = problems
        self._frames: list[_Frame] = []
        self._documents = 0

    def take(self, event: yaml.Event) -> bool:
        """Take the parser's next event; false when there is no use in going on."""
        match event:
            case yaml.DocumentStartEvent():
                self._documents += 1
                if self._documents > 1:
                    self._problems.add("", f"holds a second document ({_line(event)})")
                    return False
            case yaml.AliasEvent():
                self._complain(event, "aliases are not allowed: write it out")
                self._put(None, event)
            case yaml.ScalarEvent():
                self._refuse_decoration(event)
                self._put(_value(event), event)
            case yaml.MappingStartEvent() | yaml.SequenceStartEvent():
                self._refuse_decoration(event)
                return self._open({} if isinstance(event, yaml.MappingStartEvent) else [], event)
            case yaml.MappingEndEvent() | yaml.SequenceEndEvent():
                self._frames.pop()
            case _:
                pass
        return not self._problems.is_full

    def _open(self, container: "dict[str, Any] | list[Any]", event: yaml.Event) -> bool:
        path = self._path()
        if len(self._frames) >= MAX_DEPTH:
            self._problems.add(path, f"is nested more than {MAX_DEPTH} levels deep ({_line(event)})")
            return False
        self._put(container, event)
        self._frames.append(_Frame(container, path))
        return True

    def _put(self, value: Any, event: yaml.Event) -> None:
        if not self._frames:
            self.root = value
            return
        frame = self._frames[-1]
        if isinstance(frame.container, list):
            frame.container.append(value)
        elif frame.key is _NOTHING:
            frame.key = self._key(value, frame, event)
        else:
            frame.container[frame.key] = value
            frame.key = _NOTHING

    def _key(self, value: Any, frame: _Frame, event: yaml.Event) -> str:
        if not isinstance(value, str):
            hint = "put it in quotes" if not isinstance(value, dict | list) else "not a mapping or list"
            self._problems.add(frame.path, f"a key must be text: {hint} ({_line(event)})")
            return ""
        if value in frame.container:
            self._problems.add(at(frame.path, value), f"is there twice ({_line(event)})")
        return value

    def _refuse_decoration(self, event: yaml.ScalarEvent | yaml.CollectionStartEvent) -> None:
        if event.anchor is not None:
            self._complain(event, "anchors are not allowed")
        if event.tag is not None:
            self._complain(event, f"the tag `{shortened(str(event.tag))}` is not allowed")

    def _complain(self, event: yaml.Event, message: str) -> None:
        self._problems.add(self._path(), f"{message} ({_line(event)})")

    def _path(self) -> str:
        if not self._frames:
            return ""
        frame = self._frames[-1]
        is_key = isinstance(frame.container, dict) and frame.key is _NOTHING
        return frame.path if is_key else frame.value_path


def _value(event: yaml.ScalarEvent) -> Any:
    is_plain = event.implicit[0]
    return plain_value(str(event.value)) if is_plain else event.value


def plain_value(text: str) -> Any:
    """What a scalar without quotes means."""
    if text in _CONSTANTS:
        return _CONSTANTS[text]
    if _INTEGER.fullmatch(text):
        return int(text)
    if text[-1].isdigit() and _NUMBER.fullmatch(text):
        return float(text)
    return text


def _line(event: yaml.Event) -> str:
    mark = event.start_mark
    return f"line {mark.line + 1}" if mark else "somewhere"


def _reason(error: yaml.YAMLError) -> str:
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark is not None:
        mark = error.problem_mark
        return f"{error.problem} (line {mark.line + 1}, column {mark.column + 1})"
    return shortened(str(getattr(error, "reason", None) or "it cannot be read"))
