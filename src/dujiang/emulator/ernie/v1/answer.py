"""The answer to a valid V1 chat: a `result`, whole or in frames that each repeat the usage so far."""

from typing import Literal

import msgspec
from msgspec import UNSET, Struct, UnsetType

from dujiang.emulator import text
from dujiang.emulator.behaviour import Behaviour
from dujiang.emulator.dialect import FULL_ALLOWANCE, Allowance, Answer, Refused, Stream
from dujiang.emulator.draft import Called, Draft, Figures, Finish, Function, Wish
from dujiang.emulator.ernie.marks import NO_MORE_CHAT, THIS_ROUND, headers, reply_id
from dujiang.emulator.ernie.v1 import failures
from dujiang.emulator.ernie.v1.request import Chat, ToolChoice
from dujiang.emulator.ernie.v1.tokens import State, Token, Tokens

_encode = msgspec.json.Encoder().encode
_TOKENS_PER_MESSAGE = 4
_FINISHES: dict[Finish, str] = {"stop": "normal", "length": "length", "call": "function_call"}
_THOUGHTS = "The emulator pretends to need this function."

TOKEN_CODES: dict[State, str] = {"invalid": "110", "expired": "111"}


class Usage(Struct):
    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class FunctionCall(Struct):
    name: str | UnsetType
    arguments: str | UnsetType
    thoughts: str = _THOUGHTS


class Reply(Struct, kw_only=True):
    """A whole answer, or with `sentence_id` and `is_end` a frame of one: then `result` is what this frame adds."""

    id: str
    object: Literal["chat.completion"] = "chat.completion"
    created: int
    sentence_id: int | UnsetType = UNSET
    is_end: bool | UnsetType = UNSET
    is_truncated: bool = False
    result: str = ""
    need_clear_history: bool = False
    ban_round: int | UnsetType = UNSET
    flag: int | UnsetType = UNSET
    function_call: FunctionCall | UnsetType = UNSET
    finish_reason: str = "normal"
    usage: Usage | UnsetType = UNSET


class ErnieAsk:
    """A valid chat for the model at a path, and the token that came with it."""

    is_stream: bool

    def __init__(self, chat: Chat, path: str, token: Token, tokens: Tokens) -> None:
        self._chat = chat
        self._token = token
        self._tokens = tokens
        self.model = path
        self.key = token.client_id
        self.is_stream = chat.stream

    def admit(self, behaviour: Behaviour) -> None:
        """Raises `Refused` if the token has had its calls."""
        state = self._tokens.spend(self._token, behaviour.token_end)
        if state != "valid":
            raise Refused(failures.answer(TOKEN_CODES[state], FULL_ALLOWANCE))

    def whole(self, behaviour: Behaviour, allowance: Allowance) -> Answer:
        rendering = _Rendering(self._chat, self.model, behaviour)
        return Answer(rendering.whole(), headers=headers(allowance))

    def stream(self, behaviour: Behaviour, allowance: Allowance) -> Stream:
        rendering = _Rendering(self._chat, self.model, behaviour)
        content = rendering.content()
        return Stream(headers(allowance), (), content, (rendering.last(len(content)),), None, error_form="line")


class _Rendering:
    """One answer in V1's form."""

    def __init__(self, chat: Chat, path: str, behaviour: Behaviour) -> None:
        self._behaviour = behaviour
        self._draft = Draft(_wish(chat, path), behaviour)

    def whole(self) -> bytes:
        reply = self._end()
        reply.result = self._draft.content
        reply.function_call = _function_call(self._draft.call)
        return _encode(reply)

    def content(self) -> tuple[bytes, ...]:
        """The frames before the last. A function's call is one of them, never cut."""
        if self._draft.call is not None:
            frame = self._reply(_FINISHES["call"], self._usage_after(1, 1))
            frame.function_call = _function_call(self._draft.call)
            return (_framed(frame, 0, is_end=False),)
        pieces = self._draft.text_pieces()
        return tuple(self._text_frame(piece, index, len(pieces)) for index, piece in enumerate(pieces))

    def last(self, sentence_id: int) -> bytes:
        """The frame that ends the stream; it adds nothing."""
        return _framed(self._end(), sentence_id, is_end=True)

    def _text_frame(self, piece: str, index: int, parts: int) -> bytes:
        frame = self._reply(_FINISHES["stop"], self._usage_after(index + 1, parts))
        frame.result = piece
        return _framed(frame, index, is_end=False)

    def _end(self) -> Reply:
        """What is known at the end of an answer."""
        behaviour, draft = self._behaviour, self._draft
        finish = behaviour.finish if behaviour.finish is not None else _FINISHES[draft.finish]
        reply = self._reply(finish, _usage(draft.figures) if draft.has_figures else UNSET)
        reply.is_truncated = behaviour.is_truncated or draft.finish == "length"
        if behaviour.needs_clear_history:
            reply.need_clear_history, reply.ban_round, reply.flag = True, THIS_ROUND, NO_MORE_CHAT
        return reply

    def _reply(self, finish: str, usage: Usage | UnsetType) -> Reply:
        draft = self._draft
        return Reply(id=reply_id(draft), created=draft.created, finish_reason=finish, usage=usage)

    def _usage_after(self, part: int, parts: int) -> Usage | UnsetType:
        """Every frame tells it, unless the behaviour leaves it to the last or to none."""
        if self._behaviour.usage in ("missing", "last_content_chunk"):
            return UNSET
        return _usage(self._draft.figures.so_far(part, parts))


def _framed(reply: Reply, sentence_id: int, *, is_end: bool) -> bytes:
    reply.sentence_id, reply.is_end = sentence_id, is_end
    return _encode(reply)


def _wish(chat: Chat, path: str) -> Wish:
    functions = chat.functions if isinstance(chat.functions, list) else []
    return Wish(
        model=path,
        prompt_tokens=_prompt_tokens(chat),
        functions=tuple(Function(function.name, function.parameters) for function in functions),
        forced=chat.tool_choice.function.name if isinstance(chat.tool_choice, ToolChoice) else None,
        has_result=chat.messages[-1].role == "function",
        format=chat.response_format,
        most_tokens=chat.max_output_tokens if isinstance(chat.max_output_tokens, int) else None,
    )


def _prompt_tokens(chat: Chat) -> int:
    texts = [chat.system, *(message.content for message in chat.messages)]
    functions = len(_encode(chat.functions)) // 4 if isinstance(chat.functions, list) else 0
    return functions + sum(_TOKENS_PER_MESSAGE + text.count(said) for said in texts if isinstance(said, str))


def _usage(figures: Figures) -> Usage:
    return Usage(figures.prompt, figures.completion, figures.total)


def _function_call(call: Called | None) -> FunctionCall | UnsetType:
    return UNSET if call is None else FunctionCall(call.name, call.arguments)
