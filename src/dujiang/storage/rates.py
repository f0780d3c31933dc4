"""The arithmetic of rates, for every store: see `dujiang.storage.store` for the algorithm.

A counter is told by how many seconds its moment lies ahead of now: 0 is a counter that nobody used for a minute.
"""

from dujiang.core.limits import Bound, Refusal, Standing
from dujiang.storage.store import PERIOD_S

_EPSILON_S = 1e-6
FULL_S = PERIOD_S + _EPSILON_S
"""How far ahead a counter may be. The sum of a minute's parts may come out above a minute by a rounding."""

_BUSY_RETRY_S = 1.0


def request_s(limit: int) -> float:
    """How far one request moves a counter of so many a minute."""
    return PERIOD_S / limit


def tokens_s(tokens: int, limit: int) -> float:
    """How far a call of so many tokens moves a counter of so many a minute: by a minute at most."""
    return min(tokens, limit) * PERIOD_S / limit


def refuse_concurrency(bound: Bound) -> Refusal:
    """Nobody knows when a call ends."""
    return Refusal("concurrency", bound, None, _BUSY_RETRY_S)


def refuse_requests(bound: Bound, limit: int, ahead_s: float) -> Refusal | None:
    """None where one request more passes."""
    over_s = ahead_s + request_s(limit) - FULL_S
    return Refusal("requests", bound, standing(limit, ahead_s), over_s) if over_s > 0 else None


def refuse_tokens(bound: Bound, limit: int, ahead_s: float, tokens: int) -> Refusal | None:
    """None where so many tokens more pass."""
    over_s = ahead_s + tokens_s(tokens, limit) - FULL_S
    return Refusal("tokens", bound, standing(limit, ahead_s), over_s) if over_s > 0 else None


def standing(limit: int, ahead_s: float) -> Standing:
    """How a counter stands."""
    return Standing(limit, int(max(0.0, FULL_S - ahead_s) * limit / PERIOD_S), ahead_s)


def tighter(known: Standing | None, limit: int, ahead_s: float) -> Standing:
    """The one of which less is left."""
    left = (FULL_S - ahead_s) * limit / PERIOD_S
    return known if known is not None and known.remaining <= left else Standing(limit, int(left), ahead_s)
