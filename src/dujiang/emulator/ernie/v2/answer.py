"""The answer to a valid V2 chat: OpenAI's form, with the marks of the content check on every choice."""

import msgspec
from msgspec import UNSET, Struct, UnsetType

from dujiang.emulator.behaviour import Behaviour
from dujiang.emulator.dialect import Allowance, Answer, Stream
from dujiang.emulator.draft import Draft, Figures, Finish
from dujiang.emulator.ernie.marks import NO_MORE_CHAT, THIS_ROUND, headers, reply_id
from dujiang.emulator.ernie.v2.request import QianfanChat
from dujiang.emulator.openai.answer import ToolPiece, call_id, tool_pieces, wish

_encode = msgspec.json.Encoder().encode
_FINISHES: dict[Finish, str] = {"stop": "stop", "length": "length", "call": "tool_calls"}


class PromptDetails(Struct):
    search_tokens: int = 0
    cached_tokens: int = 0


class CompletionDetails(Struct):
    reasoning_tokens: int


class Usage(Struct):
    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: PromptDetails
    completion_tokens_details: CompletionDetails


class Turn(Struct):
    """A message, or in a stream what is added to it."""

    role: str | UnsetType = UNSET
    content: str | UnsetType = UNSET
    tool_calls: list[ToolPiece] | UnsetType = UNSET
    reasoning_content: str | UnsetType = UNSET


class Marks(Struct):
    """What the content check found: `flag` is 0 for nothing."""

    flag: int = 0
    need_clear_history: bool = False
    ban_round: int = 0


class Choice(Marks, kw_only=True):
    index: int = 0
    message: Turn
    finish_reason: str


class DeltaChoice(Marks, kw_only=True):
    index: int = 0
    delta: Turn
    finish_reason: str | None = None


class Completion(Struct):
    id: str
    object: str
    created: int
    model: str
    choices: list[Choice] | list[DeltaChoice]
    usage: Usage | UnsetType | None


class QianfanAsk:
    """A valid chat request and whose key came with it."""

    is_stream: bool

    def __init__(self, chat: QianfanChat, key: str) -> None:
        self._chat = chat
        self.key = key
        self.model = chat.model
        self.is_stream = chat.stream

    def admit(self, behaviour: Behaviour) -> None:
        """A key lasts."""

    def whole(self, behaviour: Behaviour, allowance: Allowance) -> Answer:
        return Answer(_Rendering(self._chat, behaviour).whole(), headers=headers(allowance))

    def stream(self, behaviour: Behaviour, allowance: Allowance) -> Stream:
        rendering = _Rendering(self._chat, behaviour)
        return Stream(
            headers=headers(allowance),
            opening=rendering.opening(),
            content=rendering.content(),
            closing=rendering.closing(),
            terminator=b"[DONE]",
            error_form="line",
        )


class _Rendering:
    """One answer in V2's form."""

    def __init__(self, chat: QianfanChat, behaviour: Behaviour) -> None:
        self._options = chat.stream_options
        self._behaviour = behaviour
        self._draft = Draft(wish(chat), behaviour)
        self._finish = behaviour.finish if behaviour.finish is not None else _FINISHES[self._draft.finish]

    def whole(self) -> bytes:
        draft = self._draft
        turn = Turn("assistant", draft.content)
        if draft.call is not None:
            turn.tool_calls = [ToolPiece(id=call_id(draft), type="function", function=draft.call)]
        if draft.reasoning:
            turn.reasoning_content = draft.reasoning
        choice = Choice(message=turn, finish_reason=self._finish)
        self._mark(choice)
        return self._encoded("chat.completion", [choice], _usage(draft.figures) if draft.has_figures else UNSET)

    def opening(self) -> tuple[bytes, ...]:
        return (self._chunk([DeltaChoice(delta=Turn("assistant", ""))], self._passing_usage(0, 1)),)

    def content(self) -> tuple[bytes, ...]:
        deltas = [Turn(reasoning_content=piece) for piece in self._draft.reasoning_pieces()]
        if self._draft.call is not None:
            deltas += [Turn(tool_calls=[piece]) for piece in tool_pieces(self._draft)]
        else:
            deltas += [Turn(content=piece) for piece in self._draft.text_pieces()]
        usages = [self._passing_usage(index + 1, len(deltas)) for index in range(len(deltas))]
        choices = [DeltaChoice(delta=delta) for delta in deltas]
        return tuple(self._chunk([choice], usage) for choice, usage in zip(choices, usages, strict=True))

    def closing(self) -> tuple[bytes, ...]:
        """The chunk that finishes and, if asked for, one that has the usage and no choice."""
        mode, includes_usage = self._behaviour.usage, self._options.include_usage
        total = _usage(self._draft.figures)
        choice = DeltaChoice(delta=Turn(content=""), finish_reason=self._finish)
        self._mark(choice)
        rides_along = includes_usage and mode == "last_content_chunk"
        finish = self._chunk([choice], total if rides_along else self._passing_usage(1, 1))
        if not includes_usage or mode in ("missing", "last_content_chunk", "every_chunk"):
            return (finish,)
        return (finish, self._chunk([], total))

    def _passing_usage(self, part: int, parts: int) -> Usage | UnsetType | None:
        """The `usage` of a chunk that is not the last: what is used so far, or null where one is still to come."""
        if self._behaviour.usage == "missing":
            return UNSET
        if self._options.chunk_include_usage or self._behaviour.usage == "every_chunk":
            return _usage(self._draft.figures.so_far(part, parts))
        return None if self._options.include_usage else UNSET

    def _mark(self, choice: Marks) -> None:
        if self._behaviour.needs_clear_history:
            choice.flag, choice.need_clear_history, choice.ban_round = NO_MORE_CHAT, True, THIS_ROUND

    def _chunk(self, choices: list[DeltaChoice], usage: Usage | UnsetType | None) -> bytes:
        return self._encoded("chat.completion.chunk", choices, usage)

    def _encoded(self, kind: str, choices: list[Choice] | list[DeltaChoice], usage: Usage | UnsetType | None) -> bytes:
        draft = self._draft
        return _encode(Completion(reply_id(draft), kind, draft.created, draft.model, choices, usage))


def _usage(figures: Figures) -> Usage:
    details = CompletionDetails(figures.reasoning)
    return Usage(figures.prompt, figures.completion, figures.total, PromptDetails(), details)
