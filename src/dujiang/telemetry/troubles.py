"""What operators should hear of: told once when it begins, whichever worker sees it and however often it comes back."""

from collections.abc import Callable, Collection, Mapping
from time import monotonic
from typing import Any, Literal

from msgspec import Struct

OVER_S = 300.0
"""What comes back sooner was never over: a target that fails on and off is told of once."""


class Trouble(Struct, frozen=True):
    """Something wrong at a vendor's. `reason` is the code of the error behind it, or `slow`; `model` and `target` are
    empty where the credential itself is not served, whatever it is used for.
    """

    kind: Literal["breaker.opened", "credential.refused", "quota.spent"]
    provider: str
    credential: str
    reason: str
    model: str = ""
    target: str = ""

    @property
    def about(self) -> tuple[str, ...]:
        """What tells it from other troubles: for one target, the reason may change meanwhile."""
        return self.kind, self.provider, self.credential, self.model, self.target


class Troubles:
    """The troubles of all workers. `tell` never waits, never raises; `clock` gives monotonic seconds."""

    def __init__(self, tell: Callable[[str, Mapping[str, Any]], None], clock: Callable[[], float] = monotonic) -> None:
        self._tell = tell
        self._clock = clock
        self._seen: dict[int, frozenset[tuple[str, ...]]] = {}
        self._last_at: dict[tuple[str, ...], float] = {}

    def hear(self, worker: int, troubles: Collection[Trouble]) -> None:
        """Take everything that a worker sees now. It says so at its start and when something changed."""
        now = self._clock()
        for seen in self._seen.values():
            self._last_at.update(dict.fromkeys(seen, now))
        self._last_at = {about: at for about, at in self._last_at.items() if now - at < OVER_S}
        self._seen[worker] = frozenset(each.about for each in troubles)
        for each in troubles:
            if each.about not in self._last_at:
                self._last_at[each.about] = now
                self._tell(each.kind, facts_of(each))


def facts_of(trouble: Trouble) -> dict[str, Any]:
    """What an alert says of it."""
    names = {"provider": trouble.provider, "credential": trouble.credential}
    if trouble.target:
        names |= {"model": trouble.model, "target": trouble.target}
    return {"target": {**names, "reason": trouble.reason}}
