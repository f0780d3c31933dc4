"""The emulator's fixed answer, and the plain count of tokens that its usage figures come from."""

import re
from functools import lru_cache
from itertools import pairwise

_TOKEN = re.compile(r"[㐀-鿿]|\s?[A-Za-z0-9_]+|\s?\S|\s+")
_SENTENCE = "这是模拟器的固定回答，不是模型写的。This is the emulator's fixed answer; no model wrote it."
_MAX_NAME = 64


def tokens(text: str) -> tuple[str, ...]:
    """Cut text into tokens, nothing lost: a Chinese character, a word with the space before it, or a mark is one."""
    return tuple(_TOKEN.findall(text))


def count(text: str) -> int:
    """The number of tokens of a text."""
    return len(_TOKEN.findall(text))


@lru_cache(maxsize=256)
def emulated(model: str, at_least: int = 1) -> tuple[str, ...]:
    """The answer in the name of a model, as tokens; its sentence repeats until there are `at_least` of them."""
    words = tokens(f"[emulated {model[:_MAX_NAME]}] {_SENTENCE}")
    sentence = tokens(" " + _SENTENCE)
    while len(words) < at_least:
        words += sentence * max(1, (at_least - len(words)) // len(sentence))
    return words


def pieces(words: tuple[str, ...], number: int) -> list[str]:
    """Join tokens into that many pieces of nearly equal length; fewer where there are fewer tokens."""
    number = max(1, min(number, len(words)))
    bounds = [len(words) * i // number for i in range(number + 1)]
    return ["".join(words[start:end]) for start, end in pairwise(bounds)]
