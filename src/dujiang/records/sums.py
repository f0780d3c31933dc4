"""What calls came to: counts, tokens, cost, and histograms of their durations."""

from collections.abc import Sequence
from typing import Any

from msgspec import Struct

from dujiang.records.histogram import packed, unpacked


class Sums(Struct):
    """Sums over calls; the order is that of `tables.SUMS` and `tables.HISTOGRAMS`."""

    calls: int = 0
    errors: int = 0
    cached: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost_micros: int = 0
    total_ms: int = 0
    first_token_ms: int = 0

    def add(self, other: "Sums") -> None:
        self.calls += other.calls
        self.errors += other.errors
        self.cached += other.cached
        self.prompt_tokens += other.prompt_tokens
        self.completion_tokens += other.completion_tokens
        self.cost_micros += other.cost_micros
        self.total_ms += other.total_ms
        self.first_token_ms += other.first_token_ms

    def row(self) -> tuple[Any, ...]:
        return (
            self.calls,
            self.errors,
            self.cached,
            self.prompt_tokens,
            self.completion_tokens,
            self.cost_micros,
            packed(self.total_ms),
            packed(self.first_token_ms),
        )


def sums_of(row: Sequence[Any]) -> Sums:
    """The sums that `row()` made these columns of."""
    return Sums(*row[:-2], *map(unpacked, row[-2:]))
