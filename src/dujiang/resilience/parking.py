"""What is left alone until somebody mends it: a credential that is refused, an account without money, a target that is
missing. Waiting does not help, and each further call would only ask for another refusal.
"""

from collections.abc import Callable

from dujiang.resilience.backoff import jittered_s

RECHECK_S = 300.0
"""The first look whether it was mended at the vendor's: a paid bill or an undone revocation does not tell us."""

MAX_RECHECK_S = 3600.0


def _tell_nobody(reason: str | None) -> None:
    pass


class Parking:
    """Whether one credential, account or target is parked, and why (`reason`: an error's code; None when it is not).

    While parked, one call is let in at `recheck_at`, then after twice the time, up to an hour. One that is answered
    restores. Nothing is held by the call that looks: if it never reports, the next one looks.

        entered = parking.enter()           # None: parked
        … BadCredential …                   parking.park(entered, error.code)
        … answered …                        parking.succeed(entered)

    `entered` is a number that tells calls of before and after a change apart: a refusal of the old secret does not park
    the new one, and a stream that ends well does not excuse a later refusal. `clock` gives monotonic seconds, `draw`
    uniform numbers in [0, 1). `on_change(reason)` is told of what happens here, not of what is adopted.
    """

    __slots__ = ("_clock", "_draw", "_era", "_next_recheck_s", "_on_change", "_version", "reason", "recheck_at")

    def __init__(
        self,
        clock: Callable[[], float],
        draw: Callable[[], float],
        version: str = "",
        on_change: Callable[[str | None], None] = _tell_nobody,
    ) -> None:
        self._clock = clock
        self._draw = draw
        self._version = version
        self._on_change = on_change
        self._era: int = 0
        self._next_recheck_s = RECHECK_S
        self.reason: str | None = None
        self.recheck_at = 0.0

    def allows(self) -> bool:
        """Whether a call would be let in now. Changes nothing."""
        return self.reason is None or self._clock() >= self.recheck_at

    def enter(self) -> int | None:
        """Let a call in, or not (None). While parked, the next look is put off by the very call that looks."""
        if self.reason is not None:
            now = self._clock()
            if now < self.recheck_at:
                return None
            self._put_off(now)
        return self._era

    def park(self, entered: int, reason: str, retry_after_s: float = 0.0) -> None:
        """The call that entered was refused. `retry_after_s` is when the answer said to look again; it may put the look
        off, up to an hour, and does not bring it forward.
        """
        if entered != self._era:
            return
        was_parked = self.reason is not None
        self.reason = reason
        now = self._clock()
        if not was_parked:
            self._era += 1
            self._put_off(now)
        self.recheck_at = max(self.recheck_at, now + min(retry_after_s, MAX_RECHECK_S))
        if not was_parked:
            self._on_change(reason)

    def succeed(self, entered: int) -> None:
        """The call that entered was answered; when it was the one that looked, it is mended."""
        if self.reason is not None and entered == self._era:
            self.restore()

    def renew(self, version: str) -> None:
        """Tell which version of the secret is used now, as after a reload (its fingerprint or revision, never itself):
        another than before restores.
        """
        if version != self._version:
            self._version = version
            self.restore()

    def restore(self) -> None:
        """Let calls in again. Those that are under way do not count any more."""
        was_parked = self.reason is not None
        self._clear()
        if was_parked:
            self._on_change(None)

    def _clear(self) -> None:
        self._era += 1
        self._next_recheck_s = RECHECK_S
        self.reason = None
        self.recheck_at = 0.0

    def adopt(self, reason: str | None) -> None:
        """Take over that another process was refused, or, where `reason` is None, answered again. It never brings a
        look forward, and `on_change` is not told.
        """
        if reason is None:
            self._clear()
        elif self.reason is None:
            self.reason = reason
            self._era += 1
            self._put_off(self._clock())

    def _put_off(self, now: float) -> None:
        self.recheck_at = now + jittered_s(self._next_recheck_s, MAX_RECHECK_S, self._draw)
        self._next_recheck_s = min(2 * self._next_recheck_s, MAX_RECHECK_S)
