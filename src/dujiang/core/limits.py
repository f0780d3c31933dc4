"""How much may pass, and what becomes of a call that asks: let in, or refused, and how much was left."""

from typing import Literal

from msgspec import Struct

LimitName = Literal["requests", "tokens", "concurrency"]


class Bound(Struct, frozen=True):
    """What one counter lets through: requests and tokens per minute, calls at once. `None` sets no limit.

    Whoever has the same `subject` shares the counter.
    """

    subject: str
    rpm: int | None = None
    tpm: int | None = None
    concurrency: int | None = None


class Standing(Struct, frozen=True):
    """How a rate stands: `remaining` of `limit` could pass at once now, and all of it again after `reset_s`."""

    limit: int
    remaining: int
    reset_s: float


class Permit(Struct):
    """A call that was let in. It is given back once, by `Store.leave`.

    `tokens` were counted for it in advance; `requests_left` and `tokens_left` tell of the tightest rate of each kind.
    `lease` is the store's own name for it, where it has one.
    """

    bounds: tuple[Bound, ...]
    tokens: int = 0
    requests_left: Standing | None = None
    tokens_left: Standing | None = None
    lease: str = ""


class Refusal(Struct, frozen=True):
    """Which limit of whom a call did not pass, and when it would."""

    name: LimitName
    bound: Bound
    standing: Standing | None
    retry_after_s: float

    @property
    def limit(self) -> int:
        """How much of it may pass."""
        standing = self.standing
        return standing.limit if standing is not None else self.bound.concurrency or 0

    @property
    def remaining(self) -> int:
        return self.standing.remaining if self.standing is not None else 0
