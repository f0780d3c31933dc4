"""What a model would be told: a scene with its places filled, and nothing executed."""

from collections.abc import Mapping
from typing import Any

from dujiang.core.chat import Message
from dujiang.scenes.compiled import Version


def preview(version: Version, variables: Mapping[str, Any], prompt: str = "") -> list[Message]:
    """The messages of a call with `prompt`, or of the scene alone. An output schema is shown in words.

    Raises `Unprocessable` for a bad, missing or unknown variable.
    """
    messages = version.messages(variables)
    if version.output is not None:
        messages = version.output.instruct(messages)
    return [*messages, Message("user", prompt)] if prompt else list(messages)
