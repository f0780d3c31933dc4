"""How long to wait before trying again, drawn so that those who failed together do not come back together.

`draw` is a source of uniform random numbers in [0, 1), as `random.random`.
"""

from collections.abc import Callable
from math import inf

JITTER = 0.15
"""The share by which a long wait is made longer or shorter: who opened at one moment does not probe at one moment."""

_MOST_DOUBLINGS = 64
"""Far beyond any bound, and far from where a float overflows."""


def delay_s(attempt: int, base_s: float, max_s: float, draw: Callable[[], float]) -> float:
    """Seconds before the retry that follows failed attempt number `attempt`, the first being 0.

    Full jitter: random(0, min(max, base * 2^attempt)), from the AWS Architecture Blog,
    "Exponential Backoff And Jitter".
    """
    return draw() * min(max_s, base_s * 2.0 ** min(attempt, _MOST_DOUBLINGS))


def retry_after_delay_s(retry_after_s: float, base_s: float, bound_s: float, draw: Callable[[], float]) -> float | None:
    """Seconds before a retry of what told us when to come back: never earlier, and up to `base_s` later, so that not
    all come at that very moment. None when that is beyond `bound_s` (or no number): do not retry there.
    """
    if not 0 <= retry_after_s <= bound_s:
        return None
    return retry_after_s + draw() * base_s


def jittered_s(duration_s: float, max_s: float, draw: Callable[[], float]) -> float:
    """`duration_s`, more or less by up to `JITTER`, and never above `max_s`: near it, all of it is drawn below."""
    middle_s = min(duration_s, max_s / (1 + JITTER)) if max_s < inf else duration_s
    return min(max_s, middle_s * (1 - JITTER + 2 * JITTER * draw()))
