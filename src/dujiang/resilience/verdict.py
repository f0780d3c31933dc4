"""What the error of an attempt means for the next one, and for the target: one table, by class, never by status number.

`docs` of vendors differ in what a number says; `providers/` has translated that already.
"""

from typing import Literal

from msgspec import Struct

from dujiang.core.errors import (
    AppError,
    BadCredential,
    ContentFiltered,
    NoSuchDeployment,
    OutOfQuota,
    Rejected,
    Saturated,
    StaleConnection,
    StreamBroken,
    Throttled,
    Timeout,
    TooLong,
    Unavailable,
    UpstreamError,
)

Parked = Literal["target", "credential", "account"]
Fallback = Literal["failed", "too_long", "content_filtered"]


class Verdict(Struct, frozen=True):
    """What follows from an error.

    `elsewhere`: another target may succeed. `same`: so may this one, after a delay, when no other is untried.
    `at_once`: resend there without delay, once, whatever the retry budget has left: nothing was served.
    `hurts_breaker`: the target is to blame. `cools`: leave it alone for as long as it said.
    `parks`: what of it is left alone until it is mended.
    `fallback`: which list of other models may be asked when no target could answer; None: the answer would be the same.
    """

    elsewhere: bool = False
    same: bool = False
    at_once: bool = False
    hurts_breaker: bool = False
    cools: bool = False
    parks: Parked | None = None
    fallback: Fallback | None = None


VERDICTS: dict[type[AppError], Verdict] = {
    AppError: Verdict(),
    UpstreamError: Verdict(elsewhere=True, same=True, hurts_breaker=True, fallback="failed"),
    Unavailable: Verdict(elsewhere=True, same=True, hurts_breaker=True, fallback="failed"),
    StaleConnection: Verdict(elsewhere=True, same=True, at_once=True, fallback="failed"),
    Timeout: Verdict(elsewhere=True, same=True, hurts_breaker=True, fallback="failed"),
    Throttled: Verdict(elsewhere=True, same=True, cools=True, fallback="failed"),
    OutOfQuota: Verdict(elsewhere=True, parks="account", fallback="failed"),
    BadCredential: Verdict(elsewhere=True, parks="credential", fallback="failed"),
    NoSuchDeployment: Verdict(elsewhere=True, parks="target", fallback="failed"),
    Rejected: Verdict(),
    TooLong: Verdict(fallback="too_long"),
    ContentFiltered: Verdict(fallback="content_filtered"),
    StreamBroken: Verdict(hurts_breaker=True),
    Saturated: Verdict(fallback="failed"),
}
"""A class that is not here means what its nearest ancestor does. Of our own errors only a model without places means
something: that others may have some.
"""


def verdict(error: AppError) -> Verdict:
    """What `error` means. A caller who left is no error: `Breaker.cancel`."""
    for kind in type(error).__mro__:
        found = VERDICTS.get(kind)
        if found is not None:
            return found
    raise TypeError("not an AppError")
