"""What a scene demands of an answer: JSON that is valid against its schema."""

import asyncio
from itertools import islice
from typing import TYPE_CHECKING, Any

import msgspec

from dujiang.core.chat import Message
from dujiang.core.problem import shortened
from dujiang.scenes.output_rules import Schema, parts_of

if TYPE_CHECKING:
    from jsonschema.exceptions import ValidationError

MAX_CHARS = 256 * 1024
"""The longest answer that is looked at."""

MAX_STEPS = 250_000
"""The most work that holding an answer against its schema may be: parts of the schema times values of the answer."""

_STEPS_AT_ONCE = 2_000
"""What is done in the event loop; more goes to a thread, so that other calls are not held up."""

_MAX_COMPLAINTS = 8
_QUOTED_CHARS = 16 * 1024

_decode = msgspec.json.decode


class Unfit(Exception):
    """An answer that is not what the schema demands. `complaints` are for the model, and may quote the answer;
    `fault` is for people, and does not.
    """

    def __init__(self, reason: str, fault: str, complaints: list[str]) -> None:
        super().__init__(fault)
        self.reason = reason
        self.fault = fault
        self.complaints = complaints


class OutputSchema:
    """A compiled schema. `response_format` asks a model for it that can write by a schema; `line` tells another one."""

    __slots__ = ("_parts", "_validator", "line", "response_format")

    def __init__(self, schema: Schema) -> None:
        from jsonschema import Draft202012Validator
        from referencing import Registry

        plain = msgspec.json.decode(msgspec.json.encode(schema))
        self._validator: Any = Draft202012Validator(plain, registry=Registry())
        self._parts = parts_of(plain)
        self.response_format: dict[str, Any] = {
            "type": "json_schema",
            "json_schema": {"name": "output", "schema": plain},
        }
        self.line = (
            "Answer with one JSON value that is valid against this JSON Schema, and with nothing else:\n"
            + msgspec.json.encode(plain).decode()
        )

    async def read(self, text: str) -> Any:
        """The value that an answer is. Raises `Unfit`."""
        steps = _values(text) * self._parts
        if len(text) > MAX_CHARS or steps > MAX_STEPS:
            raise Unfit("too_long", "it is too long", ["It is too long."])
        value = _parsed(text)
        complaints = self._check(value) if steps <= _STEPS_AT_ONCE else await asyncio.to_thread(self._check, value)
        if complaints is not None:
            raise complaints
        return value

    def instruct(self, messages: tuple[Message, ...]) -> tuple[Message, ...]:
        """The same messages with the demand in the first system message."""
        if messages and messages[0].role == "system":
            return (Message("system", f"{messages[0].content}\n\n{self.line}"), *messages[1:])
        return (Message("system", self.line), *messages)

    def _check(self, value: Any) -> Unfit | None:
        try:
            errors: list[ValidationError] = list(islice(self._validator.iter_errors(value), _MAX_COMPLAINTS))
        except (ArithmeticError, RecursionError):
            return Unfit("schema_mismatch", "it holds a number or a depth that cannot be checked", ["It goes too far."])
        if not errors:
            return None
        place = _place_in_schema(errors[0])
        return Unfit("schema_mismatch", f"it fails the schema's `{place}`", [_complaint(error) for error in errors])


def bare_json(text: str) -> str:
    """A text without the blank space and the one Markdown fence that may be around it."""
    text = text.strip()
    if len(text) < 6 or not (text.startswith("```") and text.endswith("```")):
        return text
    opening, line_end, rest = text[:-3].partition("\n")
    return rest.strip() if line_end else opening[3:].removeprefix("json").strip()


def repair_turns(text: str, unfit: Unfit) -> list[Message]:
    """The conversation that asks a model to mend its answer."""
    complaints = "\n".join(f"- {complaint}" for complaint in unfit.complaints)
    request = Message(
        "user", f"Your answer is not valid:\n{complaints}\nAnswer again: the corrected JSON, and nothing else."
    )
    return [Message("assistant", text[:_QUOTED_CHARS]), request] if text.strip() else [request]


def _values(text: str) -> int:
    """At least the number of values in a JSON text: the first of a list or mapping follows a bracket, the others a
    comma.
    """
    return 1 + text.count(",") + text.count("[") + text.count("{")


def _parsed(text: str) -> Any:
    try:
        return _decode(text)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        why = shortened(str(error), 200)
        raise Unfit("not_json", "it is not JSON", [f"It is not JSON: {why}"]) from error


def _complaint(error: "ValidationError") -> str:
    return f"{shortened(error.json_path, 200)}: {shortened(error.message, 300)}"


def _place_in_schema(error: "ValidationError") -> str:
    return shortened("/".join(str(step) for step in error.absolute_schema_path), 200)
