"""What was said in a call, and how much of it a record keeps."""

import msgspec

from dujiang.core.chat import Message

CONTENT_BYTES = 256 * 1024
"""The most that is kept of the messages, and of the answer, in UTF-8."""

Said = tuple[list[Message], str]
"""The rendered messages and the answer's text."""

_MESSAGE_BYTES = 32
"""What a message takes beside its text."""

_to_json = msgspec.json.Encoder().encode


def abridged(messages: list[Message], answer: str) -> Said:
    """The first messages and the beginning of the answer, as far as the limit goes.

    A text is cut, nothing else is: what is no text (parts, calls of tools) becomes the text of its JSON first.
    """
    kept: list[Message] = []
    left = CONTENT_BYTES
    for message in messages:
        left -= _MESSAGE_BYTES
        if left <= 0:
            break
        text = _text_of(message).encode()[:left]
        kept.append(Message(message.role, text.decode("utf-8", "ignore")))
        left -= len(text)
    return kept, answer.encode()[:CONTENT_BYTES].decode("utf-8", "ignore")


def _text_of(message: Message) -> str:
    content = message.content
    return content if isinstance(content, str) and not message.tool_calls else _to_json(message).decode()
