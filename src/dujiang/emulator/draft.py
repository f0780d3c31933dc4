"""What is answered, before it has any vendor's form: the words or the call of a function, why they end, the usage."""

import time
from typing import Any, Literal

import msgspec
from msgspec import UNSET, Struct, UnsetType

from dujiang.core.ids import new_id
from dujiang.emulator import text
from dujiang.emulator.behaviour import Behaviour
from dujiang.emulator.dialect import DEFAULT_CHUNKS
from dujiang.emulator.sample import sample

Finish = Literal["stop", "length", "call"]

_encode = msgspec.json.Encoder().encode
_REASONING = "先想一想。The emulator pretends to think before it answers."
_REASONING_PIECES = 3


class Function(Struct, frozen=True):
    """A function that may be called, and the JSON Schema of its arguments."""

    name: str
    parameters: dict[str, Any]


class Wish(Struct, frozen=True):
    """What a call asks for.

    `forced` is the one function that must be called, `needs_call` says that some one must; `has_result` that a
    function has just answered. `schema` is what the answer must satisfy if `format` is `json_schema`. `n` counts how
    often the answer is given.
    """

    model: str
    prompt_tokens: int
    functions: tuple[Function, ...] = ()
    forced: str | None = None
    needs_call: bool = False
    has_result: bool = False
    format: Literal["text", "json_object", "json_schema"] = "text"
    schema: dict[str, Any] = {}
    most_tokens: int | None = None
    n: int = 1


class Figures(Struct, frozen=True):
    """How many tokens. `reasoning` is a part of `completion`."""

    prompt: int
    completion: int
    total: int
    reasoning: int = 0

    def so_far(self, part: int, parts: int) -> "Figures":
        """The count after `part` of `parts` equal pieces of the answer; after the last one it is all of it."""
        completion = self.completion * part // parts
        left = self.completion - completion
        return Figures(self.prompt, completion, self.total - left, min(self.reasoning, completion))


class Called(Struct):
    """A call of a function, or a fragment of one: what is unset is not in it."""

    name: str | UnsetType = UNSET
    arguments: str | UnsetType = UNSET


class Draft:
    """One answer. Its id, 32 hexadecimal digits, and its time in Unix seconds are the same in every piece of it."""

    def __init__(self, wish: Wish, behaviour: Behaviour) -> None:
        self._behaviour = behaviour
        self.id = new_id().replace("-", "")
        self.created = int(time.time())
        self.model = behaviour.served or wish.model
        self.reasoning = _REASONING if behaviour.answer == "reasoning" else ""
        self._words: tuple[str, ...] = ()
        self.finish: Finish = "call"
        self.call: Called | None = None
        self._arguments = ""
        function = _called_function(wish, behaviour)
        if function is None:
            self._words, self.finish = _words(wish, behaviour)
        else:
            self._arguments = _encode(sample(function.parameters)).decode()
            self.call = Called(function.name, self._arguments)
        said = text.count(self._arguments) if self.call else len(self._words)
        self.figures = _figures(wish, behaviour, said, text.count(self.reasoning) if self.reasoning else 0)

    @property
    def content(self) -> str:
        return "".join(self._words)

    @property
    def has_figures(self) -> bool:
        """Whether the caller is told the usage."""
        return self._behaviour.usage != "missing"

    def text_pieces(self) -> list[str]:
        """The text as a stream gives it."""
        pieces = text.pieces(self._words, self._behaviour.chunks or DEFAULT_CHUNKS)
        return [part for piece in pieces for part in (piece, "")] if self._behaviour.has_empty_deltas else pieces

    def reasoning_pieces(self) -> list[str]:
        return text.pieces(text.tokens(self.reasoning), _REASONING_PIECES) if self.reasoning else []

    def call_pieces(self) -> list[Called]:
        """The call in fragments: the name first, then its arguments; or both of them one character at a time."""
        if self.call is None or not isinstance(self.call.name, str):
            return []
        name = self.call.name
        if self._behaviour.answer == "tools_split":
            letters = [Called(name=letter) for letter in name[1:]]
            return [Called(name[0], ""), *letters, *(Called(arguments=letter) for letter in self._arguments)]
        pieces = text.pieces(text.tokens(self._arguments), self._behaviour.chunks or DEFAULT_CHUNKS)
        return [Called(name, ""), *(Called(arguments=piece) for piece in pieces)]


def _called_function(wish: Wish, behaviour: Behaviour) -> Function | None:
    """The function to call: forced by the request, or wanted by the behaviour unless one has just answered."""
    if not wish.functions:
        return None
    if wish.forced is not None:
        return next(function for function in wish.functions if function.name == wish.forced)
    is_wanted = behaviour.answer in ("tools", "tools_split") and not wish.has_result
    return wish.functions[0] if is_wanted or wish.needs_call else None


def _words(wish: Wish, behaviour: Behaviour) -> tuple[tuple[str, ...], Finish]:
    """The answer's tokens. The behaviour's own figures go before the request's limit."""
    words = _json_words(wish) or text.emulated(wish.model, behaviour.chunks or 1)
    most = wish.most_tokens
    if most is None or most >= len(words) or behaviour.chunks is not None or behaviour.tokens is not None:
        return words, "stop"
    return words[:most], "length"


def _json_words(wish: Wish) -> tuple[str, ...]:
    """The tokens of a JSON answer where one is asked for."""
    match wish.format:
        case "text":
            return ()
        case "json_object":
            value = {"emulated": True, "answer": "".join(text.emulated(wish.model))}
        case "json_schema":
            value = sample(wish.schema)
    return text.tokens(_encode(value).decode())


def _figures(wish: Wish, behaviour: Behaviour, said: int, thought: int) -> Figures:
    prompt, completion = wish.prompt_tokens, said * wish.n + thought
    if behaviour.tokens is not None:
        prompt, completion = behaviour.tokens
    total = prompt + completion
    match behaviour.usage:
        case "zero":
            prompt = completion = total = thought = 0
        case "wrong":
            total += 7
        case "huge":
            prompt = completion = total = 2**63
        case _:
            pass
    return Figures(prompt, completion, total, min(thought, completion))
