"""Whether a failed attempt is followed by another, and after how long."""

from collections.abc import Callable, Sequence
from time import monotonic

from dujiang.core.call import Call
from dujiang.core.errors import Throttled, UpstreamError
from dujiang.resilience.backoff import delay_s, retry_after_delay_s
from dujiang.resilience.model import Model
from dujiang.resilience.target import Target
from dujiang.resilience.verdict import verdict


def retry_delay_s(
    error: UpstreamError,
    call: Call,
    model: Model,
    tried: Sequence[Target],
    draw: Callable[[], float],
    clock: Callable[[], float] = monotonic,
) -> float | None:
    """Seconds until the next attempt; None where there shall be none. `tried` has the targets that failed, in order,
    one as often as it did.

    It pays for the retry, so ask once for each failure. While another target is untried it follows at once; the same
    one is asked again after a backoff, or as late as it said. None begins that the call's deadline would end before
    even the quickest target says something.
    """
    found, retry = verdict(error), model.settings.retry
    if not (found.elsewhere or found.same) or len(tried) >= retry.max_attempts:
        return None
    is_other_left = any(target not in tried for target in model.targets)
    if is_other_left:
        wait_s: float | None = 0.0
    elif not found.same:
        return None
    elif isinstance(error, Throttled) and error.retry_after_s is not None:
        wait_s = retry_after_delay_s(error.retry_after_s, retry.base_delay_s, retry.max_delay_s, draw)
    else:
        wait_s = delay_s(len(tried) - 1, retry.base_delay_s, retry.max_delay_s, draw)
    if wait_s is None or clock() + wait_s + model.least_s(call) >= call.deadline or not model.retries.withdraw():
        return None
    return wait_s
