"""Token counts: a vendor's numbers as disjoint buckets, or our estimate where it gave none."""

from msgspec import Struct

from dujiang.core.chat import Usage

_MAX_TOKENS = 1_000_000_000_000


class PromptDetails(Struct):
    cached_tokens: int | None = None
    cache_write_tokens: int | None = None


class CompletionDetails(Struct):
    reasoning_tokens: int | None = None


class VendorUsage(Struct):
    """`usage` of the OpenAI format, with the places where its speakers put cached tokens.

    `prompt_tokens` includes cached ones, `completion_tokens` includes reasoning.
    """

    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    total_tokens: int | None = None
    prompt_tokens_details: PromptDetails | None = None
    completion_tokens_details: CompletionDetails | None = None
    prompt_cache_hit_tokens: int | None = None
    cached_tokens: int | None = None


def normalise(usage: VendorUsage) -> Usage | None:
    """Disjoint buckets out of a vendor's totals; None when the numbers cannot be true (negative, absurd, missing)."""
    prompt, completion = usage.prompt_tokens, usage.completion_tokens
    if prompt is None:
        return None
    if completion is None:
        if usage.total_tokens is None:
            return None
        completion = usage.total_tokens - prompt
    if not (0 <= prompt <= _MAX_TOKENS and 0 <= completion <= _MAX_TOKENS):
        return None
    details, output = usage.prompt_tokens_details, usage.completion_tokens_details
    read = (details.cached_tokens if details else None) or usage.prompt_cache_hit_tokens or usage.cached_tokens or 0
    write = (details.cache_write_tokens if details else None) or 0
    reasoning = (output.reasoning_tokens if output else None) or 0
    read = min(max(read, 0), prompt)
    write = min(max(write, 0), prompt - read)
    reasoning = min(max(reasoning, 0), completion)
    return Usage(prompt - read - write, read, write, completion - reasoning, reasoning)


def estimate_tokens(text: str) -> int:
    """Roughly the tokens of a text: one per Chinese, Japanese or Korean character, one per four others.

    The second figure is OpenAI's published rule of thumb for English, the first the usual one for current tokenizers.
    """
    if text.isascii():
        return (len(text) + 3) // 4
    wide = sum(character >= "\u2e80" for character in text)
    return wide + (len(text) - wide + 3) // 4
