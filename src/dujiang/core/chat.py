"""The neutral chat request and the pieces of its answer. Every provider and both public wires map to these."""

from typing import Any, Literal

from msgspec import UNSET, Struct

Role = Literal["system", "developer", "user", "assistant", "tool", "function"]
FinishReason = Literal["stop", "length", "tool_calls", "content_filter", "error", "unknown"]


class Message(Struct, omit_defaults=True):
    """One turn, in the form of OpenAI's API. `content` is text or a list of parts; unset fields are never sent."""

    role: Role
    content: str | list[dict[str, Any]] | None = None
    name: str | None = None
    tool_calls: list[dict[str, Any]] | None = None
    tool_call_id: str | None = None
    refusal: str | None = None
    reasoning_content: str | None = None


class ChatRequest(Struct, omit_defaults=True):
    """What is asked of a model, whoever serves it. `None` means unset, which is not the same as any value.

    `extra` holds fields of OpenAI's schema that travel through unread (`logit_bias`, `metadata`, …).
    """

    model: str
    messages: list[Message]
    stream: bool = False
    temperature: float | None = None
    top_p: float | None = None
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    stop: str | list[str] | None = None
    seed: int | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    tools: list[dict[str, Any]] | None = None
    tool_choice: str | dict[str, Any] | None = None
    parallel_tool_calls: bool | None = None
    response_format: dict[str, Any] | None = None
    extra: dict[str, Any] | None = None


class Usage(Struct, frozen=True):
    """Tokens in disjoint buckets; totals are derived, never stored. `source` says who counted."""

    input_uncached: int = 0
    cache_read: int = 0
    cache_write: int = 0
    output_visible: int = 0
    reasoning: int = 0
    source: Literal["provider", "estimated"] = "provider"

    @property
    def prompt_tokens(self) -> int:
        return self.input_uncached + self.cache_read + self.cache_write

    @property
    def completion_tokens(self) -> int:
        return self.output_visible + self.reasoning

    def __add__(self, other: "Usage") -> "Usage":
        """What both used; it is estimated where either is."""
        return Usage(
            self.input_uncached + other.input_uncached,
            self.cache_read + other.cache_read,
            self.cache_write + other.cache_write,
            self.output_visible + other.output_visible,
            self.reasoning + other.reasoning,
            self.source if self.source == other.source else "estimated",
        )


class Chunk(Struct):
    """A piece of an answer. A whole answer is one chunk with `finish` set.

    `tool_calls` are OpenAI's deltas, accumulated by their `index`. `usage` is a snapshot: the latest one holds.
    `served` is the vendor's name of the model that answered. `output` is the value that an answer to a scene with an
    output schema is in JSON.
    """

    text: str = ""
    finish: FinishReason | None = None
    usage: Usage | None = None
    served: str | None = None
    tool_calls: list[dict[str, Any]] | None = None
    reasoning: str | None = None
    refusal: str | None = None
    logprobs: dict[str, Any] | None = None
    raw_finish: str | None = None
    output: Any = UNSET

    @property
    def has_content(self) -> bool:
        return bool(self.text or self.tool_calls or self.reasoning or self.refusal)
