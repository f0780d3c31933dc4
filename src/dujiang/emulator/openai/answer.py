"""The answer to a valid chat request: drafted once, then written whole or as a stream, always the same text."""

import time
from typing import Any, Literal

import msgspec
from msgspec import UNSET, Struct, UnsetType

from dujiang.core.ids import new_id
from dujiang.emulator import text
from dujiang.emulator.behaviour import Behaviour
from dujiang.emulator.dialect import DEFAULT_CHUNKS, Allowance, Answer, Stream
from dujiang.emulator.openai.headers import headers
from dujiang.emulator.openai.request import Chat, Message, ResponseFormat, Tool, ToolChoice
from dujiang.emulator.sample import sample

_encode = msgspec.json.Encoder().encode
_REASONING = "先想一想。The emulator pretends to think before it answers."
_TOKENS_PER_MESSAGE = 4
_OBJECT = "chat.completion.chunk"


class PromptDetails(Struct):
    cached_tokens: int = 0
    audio_tokens: int = 0


class CompletionDetails(Struct):
    reasoning_tokens: int = 0
    audio_tokens: int = 0
    accepted_prediction_tokens: int = 0
    rejected_prediction_tokens: int = 0


class Usage(Struct):
    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: PromptDetails
    completion_tokens_details: CompletionDetails


class Called(Struct):
    name: str | UnsetType = UNSET
    arguments: str | UnsetType = UNSET


class ToolPiece(Struct):
    """A tool call, or a fragment of one; only a fragment has an index."""

    index: int | UnsetType = UNSET
    id: str | UnsetType = UNSET
    type: str | UnsetType = UNSET
    function: Called | UnsetType = UNSET


class Turn(Struct):
    role: str
    content: str | None
    refusal: None = None
    annotations: list[Any] = []
    tool_calls: list[ToolPiece] | UnsetType = UNSET
    reasoning_content: str | UnsetType = UNSET


class Choice(Struct):
    index: int
    message: Turn
    finish_reason: str
    logprobs: None = None


class Completion(Struct):
    id: str
    object: str
    created: int
    model: str
    choices: list[Choice]
    usage: Usage | UnsetType
    service_tier: str = "default"
    system_fingerprint: str = "fp_emulated"


class Delta(Struct):
    role: str | UnsetType = UNSET
    content: str | UnsetType | None = UNSET
    refusal: UnsetType | None = UNSET
    tool_calls: list[ToolPiece] | UnsetType = UNSET
    reasoning_content: str | UnsetType = UNSET


class DeltaChoice(Struct):
    index: int
    delta: Delta
    finish_reason: str | None = None
    logprobs: None = None


class ChunkBody(Struct):
    id: str
    object: str
    created: int
    model: str
    choices: list[DeltaChoice]
    usage: Usage | UnsetType | None = UNSET
    service_tier: str = "default"
    system_fingerprint: str = "fp_emulated"


class ChatAsk:
    """A valid chat request and whose key came with it."""

    __slots__ = ("chat", "is_stream", "key", "model")

    def __init__(self, chat: Chat, key: str) -> None:
        self.chat = chat
        self.key = key
        self.model = chat.model
        self.is_stream = chat.stream

    def whole(self, behaviour: Behaviour, allowance: Allowance) -> Answer:
        draft = Draft(self.chat, behaviour)
        return Answer(_encode(draft.completion()), headers=headers(allowance))

    def stream(self, behaviour: Behaviour, allowance: Allowance) -> Stream:
        draft = Draft(self.chat, behaviour)
        return Stream(
            headers=headers(allowance),
            opening=draft.opening(),
            content=draft.content(),
            closing=draft.closing(),
            terminator=b"[DONE]",
        )


class Draft:
    """What is answered, before its form: the words or the tool call, the reason to stop, the usage.

    A draft makes one answer, so its id and time are the same in every chunk.
    """

    def __init__(self, chat: Chat, behaviour: Behaviour) -> None:
        self._chat = chat
        self._behaviour = behaviour
        self._id = f"chatcmpl-{new_id().replace('-', '')}"
        self._created = int(time.time())
        self._model = behaviour.served or chat.model
        self._reasoning = _REASONING if behaviour.answer == "reasoning" else ""
        self._words: tuple[str, ...] = ()
        self._tool = _called_tool(chat, behaviour)
        self._arguments = ""
        if self._tool is not None:
            self._finish = "tool_calls"
            self._arguments = _encode(sample(self._tool.function.parameters or {})).decode()
        else:
            self._words, self._finish = _words(chat, behaviour)
        said = text.count(self._arguments) if self._tool else len(self._words)
        self._usage = _usage(chat, behaviour, said, text.count(self._reasoning) if self._reasoning else 0)

    def completion(self) -> Completion:
        turn = Turn("assistant", None if self._tool else "".join(self._words))
        if self._tool is not None:
            called = Called(self._tool.function.name, self._arguments)
            turn.tool_calls = [ToolPiece(id=self._call_id, type="function", function=called)]
        if self._reasoning:
            turn.reasoning_content = self._reasoning
        choices = [Choice(index, turn, self._finish) for index in range(self._chat.n)]
        usage = UNSET if self._behaviour.usage == "missing" else self._usage
        return Completion(self._id, "chat.completion", self._created, self._model, choices, usage)

    def opening(self) -> tuple[bytes, ...]:
        return self._chunks([Delta(role="assistant", content=None if self._tool else "", refusal=None)])

    def content(self) -> tuple[bytes, ...]:
        return self._chunks([*self._reasoning_deltas(), *(self._tool_deltas() if self._tool else self._text_deltas())])

    def closing(self) -> tuple[bytes, ...]:
        mode = self._behaviour.usage
        includes_usage = self._chat.includes_usage
        usage = self._usage if includes_usage and mode == "last_content_chunk" else self._passing_usage
        finish = tuple(self._chunk([DeltaChoice(index, Delta(), self._finish)], usage) for index in range(self._chat.n))
        if not includes_usage or mode in ("missing", "last_content_chunk", "every_chunk"):
            return finish
        return (*finish, self._chunk([], self._usage))

    @property
    def _passing_usage(self) -> Usage | UnsetType | None:
        """The `usage` of a chunk that is not the last: null where one is still to come."""
        mode = self._behaviour.usage
        if mode == "every_chunk":
            return self._usage
        return None if self._chat.includes_usage and mode != "missing" else UNSET

    @property
    def _call_id(self) -> str:
        return f"call_{self._id[-24:]}"

    def _chunks(self, deltas: list[Delta]) -> tuple[bytes, ...]:
        """The chunks of some deltas, each for every one of the `n` choices."""
        usage, choices = self._passing_usage, range(self._chat.n)
        return tuple([self._chunk([DeltaChoice(index, delta)], usage) for delta in deltas for index in choices])

    def _chunk(self, choices: list[DeltaChoice], usage: Usage | UnsetType | None) -> bytes:
        return _encode(ChunkBody(self._id, _OBJECT, self._created, self._model, choices, usage))

    def _text_deltas(self) -> list[Delta]:
        number = self._behaviour.chunks or DEFAULT_CHUNKS
        return [Delta(content=piece) for piece in text.pieces(self._words, number)]

    def _reasoning_deltas(self) -> list[Delta]:
        if not self._reasoning:
            return []
        return [Delta(reasoning_content=piece) for piece in text.pieces(text.tokens(self._reasoning), 3)]

    def _tool_deltas(self) -> list[Delta]:
        """Fragments: identity and name first, then the arguments; or both of them one character at a time."""
        name = self._tool.function.name if self._tool else ""
        if self._behaviour.answer == "tools_split":
            first = Called(name[0], "")
            rest = [Called(name=letter) for letter in name[1:]] + [Called(arguments=c) for c in self._arguments]
        else:
            first = Called(name, "")
            number = self._behaviour.chunks or DEFAULT_CHUNKS
            rest = [Called(arguments=piece) for piece in text.pieces(text.tokens(self._arguments), number)]
        identity = ToolPiece(0, self._call_id, "function", first)
        return [Delta(tool_calls=[piece]) for piece in (identity, *(ToolPiece(0, function=part) for part in rest))]


def _called_tool(chat: Chat, behaviour: Behaviour) -> Tool | None:
    """The tool to call: forced by the request, or wanted by the behaviour unless a tool has just answered."""
    if not isinstance(chat.tools, list) or chat.tool_choice == "none":
        return None
    if isinstance(chat.tool_choice, ToolChoice):
        name = chat.tool_choice.function.name
        return next(tool for tool in chat.tools if tool.function.name == name)
    is_wanted = behaviour.answer in ("tools", "tools_split") and chat.messages[-1].role != "tool"
    return chat.tools[0] if is_wanted or chat.tool_choice == "required" else None


def _words(chat: Chat, behaviour: Behaviour) -> tuple[tuple[str, ...], Literal["stop", "length"]]:
    """The answer's tokens. The behaviour's own figures go before the request's limit."""
    words = _format_words(chat) or text.emulated(chat.model, behaviour.chunks or 1)
    most = chat.most_tokens
    if most is None or most >= len(words) or behaviour.chunks is not None or behaviour.tokens is not None:
        return words, "stop"
    return words[:most], "length"


def _format_words(chat: Chat) -> tuple[str, ...]:
    """The tokens of a JSON answer where one is asked for."""
    wanted = chat.response_format
    if not isinstance(wanted, ResponseFormat) or wanted.type == "text":
        return ()
    if wanted.type == "json_object":
        return text.tokens(_encode({"emulated": True, "answer": "".join(text.emulated(chat.model))}).decode())
    return text.tokens(_encode(sample(wanted.json_schema.schema or {} if wanted.json_schema else {})).decode())


def _usage(chat: Chat, behaviour: Behaviour, words: int, thought: int) -> Usage:
    prompt = sum(map(_prompt_tokens, chat.messages)) + _tool_tokens(chat)
    completion = words * chat.n + thought
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
    return Usage(prompt, completion, total, PromptDetails(), CompletionDetails(min(thought, completion)))


def _prompt_tokens(message: Message) -> int:
    content = message.content
    if isinstance(content, str):
        return _TOKENS_PER_MESSAGE + text.count(content)
    if isinstance(content, list):
        return _TOKENS_PER_MESSAGE + sum(text.count(part.text) for part in content if isinstance(part.text, str))
    return _TOKENS_PER_MESSAGE


def _tool_tokens(chat: Chat) -> int:
    return len(_encode(chat.tools)) // 4 if isinstance(chat.tools, list) else 0
