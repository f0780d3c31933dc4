"""What a call will use, before it does: as much as it may, where that is known."""

from msgspec import json

from dujiang.core.chat import ChatRequest, Message, Usage

UNKNOWN_OUTPUT_TOKENS = 1024
"""Of a model that has not answered yet, for a call that does not say how long its answer may be."""

FORGETTING = 0.99
"""How the longest answer fades with each one that is shorter: after seventy it counts half."""

_ASCII_PER_TOKEN = 3
_PART_TOKENS = 1024
"""Of an image or a sound: vendors count 85 to 1,700 for an image."""

_MESSAGE_TOKENS = 8


class Foresight:
    """Learns how long the answers of each model are. Outlives a snapshot."""

    def __init__(self) -> None:
        self._longest: dict[str, float] = {}

    def usage(self, model: str, request: ChatRequest) -> Usage:
        """More than will be used, nearly always: of the input as many tokens as it could have, of the output as many
        as it may have, or about as many as the longest of the last ones had.
        """
        choices = _choices(request)
        asked = max(request.max_tokens or 0, request.max_completion_tokens or 0)
        output = asked or int(self._longest.get(model, UNKNOWN_OUTPUT_TOKENS)) + 1
        return Usage(input_uncached=_input_tokens(request), output_visible=output * choices, source="estimated")

    def note(self, model: str, usage: Usage) -> None:
        """What an answer used."""
        self._longest[model] = max(usage.completion_tokens, self._longest.get(model, 0.0) * FORGETTING)


def _choices(request: ChatRequest) -> int:
    """How many answers are asked for at once."""
    choices = request.extra.get("n") if request.extra else None
    return choices if isinstance(choices, int) and choices > 1 else 1


def _input_tokens(request: ChatRequest) -> int:
    tokens = sum(_message_tokens(message) for message in request.messages)
    described = [part for part in (request.tools, request.response_format) if part]
    return tokens + sum(len(json.encode(part)) // _ASCII_PER_TOKEN for part in described)


def _message_tokens(message: Message) -> int:
    content = message.content
    tokens = _MESSAGE_TOKENS
    if isinstance(content, str):
        tokens += _text_tokens(content)
    elif content is not None:
        for part in content:
            text = part.get("text")
            tokens += _text_tokens(text) if isinstance(text, str) else _PART_TOKENS
    if message.tool_calls:
        tokens += len(json.encode(message.tool_calls)) // _ASCII_PER_TOKEN
    return tokens


def _text_tokens(text: str) -> int:
    """English has about four letters to a token, code three; of Chinese hardly a letter needs more than one."""
    return len(text) // _ASCII_PER_TOKEN + 1 if text.isascii() else len(text)
