"""The answer to a valid chat request in OpenAI's form, whole or as a stream, always the same text."""

from typing import Any

import msgspec
from msgspec import UNSET, Struct, UnsetType

from dujiang.emulator import text
from dujiang.emulator.behaviour import Behaviour
from dujiang.emulator.dialect import Allowance, Answer, Stream
from dujiang.emulator.draft import Called, Draft, Figures, Finish, Function, Wish
from dujiang.emulator.openai.headers import headers
from dujiang.emulator.openai.message import Message
from dujiang.emulator.openai.request import Chat, JsonSchema, OpenAiChat, ResponseFormat, ToolChoice

_encode = msgspec.json.Encoder().encode
_TOKENS_PER_MESSAGE = 4
_OBJECT = "chat.completion.chunk"
_FINISHES: dict[Finish, str] = {"stop": "stop", "length": "length", "call": "tool_calls"}


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

    def __init__(self, chat: OpenAiChat, key: str) -> None:
        self.chat = chat
        self.key = key
        self.model = chat.model
        self.is_stream = chat.stream

    def admit(self, behaviour: Behaviour) -> None:
        """A key lasts."""

    def whole(self, behaviour: Behaviour, allowance: Allowance) -> Answer:
        return Answer(_encode(_Rendering(self.chat, behaviour).completion()), headers=headers(allowance))

    def stream(self, behaviour: Behaviour, allowance: Allowance) -> Stream:
        rendering = _Rendering(self.chat, behaviour)
        return Stream(
            headers=headers(allowance),
            opening=rendering.opening(),
            content=rendering.content(),
            closing=rendering.closing(),
            terminator=b"[DONE]",
        )


class _Rendering:
    """One answer in OpenAI's form."""

    def __init__(self, chat: OpenAiChat, behaviour: Behaviour) -> None:
        self._chat = chat
        self._mode = behaviour.usage
        self._draft = Draft(wish(chat, chat.n), behaviour)
        self._id = f"chatcmpl-{self._draft.id}"
        self._usage = _usage(self._draft.figures)
        self._finish = behaviour.finish if behaviour.finish is not None else _FINISHES[self._draft.finish]

    def completion(self) -> Completion:
        draft = self._draft
        turn = Turn("assistant", None if draft.call else draft.content)
        if draft.call is not None:
            turn.tool_calls = [ToolPiece(id=call_id(draft), type="function", function=draft.call)]
        if draft.reasoning:
            turn.reasoning_content = draft.reasoning
        choices = [Choice(index, turn, self._finish) for index in range(self._chat.n)]
        usage = self._usage if draft.has_figures else UNSET
        return Completion(self._id, "chat.completion", draft.created, draft.model, choices, usage)

    def opening(self) -> tuple[bytes, ...]:
        return self._chunks([Delta(role="assistant", content=None if self._draft.call else "", refusal=None)])

    def content(self) -> tuple[bytes, ...]:
        thoughts = [Delta(reasoning_content=piece) for piece in self._draft.reasoning_pieces()]
        if self._draft.call is not None:
            return self._chunks([*thoughts, *(Delta(tool_calls=[piece]) for piece in tool_pieces(self._draft))])
        return self._chunks([*thoughts, *(Delta(content=piece) for piece in self._draft.text_pieces())])

    def closing(self) -> tuple[bytes, ...]:
        includes_usage = self._chat.includes_usage
        usage = self._usage if includes_usage and self._mode == "last_content_chunk" else self._passing_usage
        finish = tuple(self._chunk([DeltaChoice(index, Delta(), self._finish)], usage) for index in range(self._chat.n))
        if not includes_usage or self._mode in ("missing", "last_content_chunk", "every_chunk"):
            return finish
        return (*finish, self._chunk([], self._usage))

    @property
    def _passing_usage(self) -> Usage | UnsetType | None:
        """The `usage` of a chunk that is not the last: null where one is still to come."""
        if self._mode == "every_chunk":
            return self._usage
        return None if self._chat.includes_usage and self._mode != "missing" else UNSET

    def _chunks(self, deltas: list[Delta]) -> tuple[bytes, ...]:
        """The chunks of some deltas, each for every one of the `n` choices."""
        usage, choices = self._passing_usage, range(self._chat.n)
        return tuple([self._chunk([DeltaChoice(index, delta)], usage) for delta in deltas for index in choices])

    def _chunk(self, choices: list[DeltaChoice], usage: Usage | UnsetType | None) -> bytes:
        draft = self._draft
        return _encode(ChunkBody(self._id, _OBJECT, draft.created, draft.model, choices, usage))


def wish(chat: Chat, n: int = 1) -> Wish:
    """What a request asks for, `n` times."""
    functions: tuple[Function, ...] = ()
    if isinstance(chat.tools, list) and chat.tool_choice != "none":
        functions = tuple(Function(tool.function.name, tool.function.parameters or {}) for tool in chat.tools)
    form = chat.response_format if isinstance(chat.response_format, ResponseFormat) else ResponseFormat("text")
    return Wish(
        model=chat.model,
        prompt_tokens=sum(map(_prompt_tokens, chat.messages)) + _tool_tokens(chat),
        functions=functions,
        forced=chat.tool_choice.function.name if isinstance(chat.tool_choice, ToolChoice) else None,
        needs_call=chat.tool_choice == "required",
        has_result=chat.messages[-1].role == "tool",
        format=form.type,
        schema=(form.json_schema.schema or {}) if isinstance(form.json_schema, JsonSchema) else {},
        most_tokens=chat.most_tokens,
        n=n,
    )


def call_id(draft: Draft) -> str:
    """The id of the draft's tool call."""
    return f"call_{draft.id[-24:]}"


def tool_pieces(draft: Draft) -> list[ToolPiece]:
    """The draft's tool call in fragments; the first one says which call it is."""
    first, *rest = draft.call_pieces()
    identity = ToolPiece(0, call_id(draft), "function", first)
    return [identity, *(ToolPiece(0, function=part) for part in rest)]


def _usage(figures: Figures) -> Usage:
    details = CompletionDetails(figures.reasoning)
    return Usage(figures.prompt, figures.completion, figures.total, PromptDetails(), details)


def _prompt_tokens(message: Message) -> int:
    content = message.content
    if isinstance(content, str):
        return _TOKENS_PER_MESSAGE + text.count(content)
    if isinstance(content, list):
        return _TOKENS_PER_MESSAGE + sum(text.count(part.text) for part in content if isinstance(part.text, str))
    return _TOKENS_PER_MESSAGE


def _tool_tokens(chat: Chat) -> int:
    return len(_encode(chat.tools)) // 4 if isinstance(chat.tools, list) else 0
