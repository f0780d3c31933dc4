"""Shared state of a single process."""

from collections.abc import Callable, Collection, Sequence
from time import monotonic

from dujiang.core.limits import Bound, Permit, Refusal
from dujiang.storage import rates
from dujiang.storage.store import (
    DEBT_S,
    PERIOD_S,
    Account,
    Balance,
    Hold,
    Reservation,
    Shortage,
    Unopened,
)

SWEEP_AT = 16_384
"""The number of counters or accounts at which the first sweep is made; the next at twice what it leaves."""


class _Counter:
    """The theoretical arrival times of requests and of tokens, and the calls inside."""

    __slots__ = ("inside", "requests_at", "tokens_at")

    def __init__(self) -> None:
        self.requests_at = 0.0
        self.tokens_at = 0.0
        self.inside = 0


class _Open:
    """An account. `until` is when it ends."""

    __slots__ = ("corrections", "reserved", "spent", "until")

    def __init__(self, spent: int, corrections: Collection[str], until: float) -> None:
        self.spent = spent
        self.reserved = 0
        self.until = until
        self.corrections = set(corrections)


class MemoryStore:
    """Everything in dictionaries; nothing waits. `clock` is monotonic, in seconds."""

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._counters: dict[str, _Counter] = {}
        self._sweep_at = self._close_at = SWEEP_AT
        self._accounts: dict[str, _Open] = {}
        self._values: dict[str, tuple[bytes, float]] = {}
        self._listeners: dict[str, list[Callable[[bytes], None]]] = {}

    async def admit(self, bounds: Sequence[Bound], tokens: int) -> Permit | Refusal:
        now = self._clock()
        if len(self._counters) >= self._sweep_at:
            self._sweep(now)
        counters = [self._counter(bound.subject) for bound in bounds]
        for bound, counter in zip(bounds, counters, strict=True):
            refusal = _refusal(bound, counter, tokens, now)
            if refusal is not None:
                return refusal
        permit = Permit(tuple(bounds), tokens)
        for bound, counter in zip(bounds, counters, strict=True):
            counter.inside += 1
            if (limit := bound.rpm) is not None:
                counter.requests_at = at = max(counter.requests_at, now) + rates.request_s(limit)
                permit.requests_left = rates.tighter(permit.requests_left, limit, at - now)
            if (limit := bound.tpm) is not None:
                counter.tokens_at = at = max(counter.tokens_at, now) + rates.tokens_s(tokens, limit)
                permit.tokens_left = rates.tighter(permit.tokens_left, limit, at - now)
        return permit

    def leave(self, permit: Permit, tokens: int) -> None:
        now: float | None = None
        for bound in permit.bounds:
            counter = self._counters[bound.subject]
            counter.inside -= 1
            limit = bound.tpm
            if limit is not None:
                now = self._clock() if now is None else now
                unforeseen = tokens - min(permit.tokens, limit)
                at = max(counter.tokens_at, now) + unforeseen * PERIOD_S / limit
                counter.tokens_at = min(at, now + PERIOD_S + DEBT_S)

    async def reserve(self, holds: Sequence[Hold]) -> Reservation | Shortage | Unopened:
        unopened = tuple(hold.account for hold in holds if self._open(hold.account.key) is None)
        if unopened:
            return Unopened(unopened)
        for hold in holds:
            account, found = hold.account, self._accounts[hold.account.key]
            fits = found.spent + found.reserved + hold.amount_micros <= account.limit_micros
            if not fits and (found.reserved or found.spent >= account.limit_micros):
                return Shortage(account, found.spent, found.reserved)
        for hold in holds:
            self._accounts[hold.account.key].reserved += hold.amount_micros
        return Reservation(tuple(holds))

    def settle(self, reservation: Reservation, spent_micros: Sequence[int]) -> None:
        for hold, spent in zip(reservation.holds, spent_micros, strict=True):
            found = self._accounts.get(hold.account.key)
            if found is not None:
                found.reserved -= hold.amount_micros
                found.spent += spent

    async def open(self, account: Account, spent_micros: int, corrections: Collection[str], ttl_s: float) -> None:
        if self._open(account.key) is None:
            if len(self._accounts) >= self._close_at:
                for key in tuple(self._accounts):
                    self._open(key)
                self._close_at = max(SWEEP_AT, 2 * len(self._accounts))
            self._accounts[account.key] = _Open(spent_micros, corrections, self._clock() + ttl_s)

    async def correct(self, key: str, correction_id: str, amount_micros: int) -> None:
        found = self._open(key)
        if found is not None and correction_id not in found.corrections:
            found.corrections.add(correction_id)
            found.spent += amount_micros

    async def balances(self, keys: Sequence[str]) -> list[Balance | None]:
        found = map(self._open, keys)
        return [Balance(each.spent, each.reserved) if each is not None else None for each in found]

    async def get(self, key: str) -> bytes | None:
        value, until = self._values.get(key, (None, 0.0))
        return value if self._clock() < until else None

    async def put(self, key: str, value: bytes, ttl_s: float) -> None:
        now = self._clock()
        if len(self._values) >= SWEEP_AT:
            self._values = {name: kept for name, kept in self._values.items() if kept[1] > now}
        self._values[key] = (value, now + ttl_s)

    async def delete(self, key: str) -> None:
        self._values.pop(key, None)

    def publish(self, channel: str, message: bytes) -> None:
        for listener in self._listeners.get(channel, ()):
            listener(message)

    def subscribe(self, channel: str, on_message: Callable[[bytes], None]) -> None:
        self._listeners.setdefault(channel, []).append(on_message)

    def state(self) -> str:
        return "ok"

    async def close(self) -> None:
        self._listeners.clear()

    def _counter(self, subject: str) -> _Counter:
        counter = self._counters.get(subject)
        if counter is None:
            counter = self._counters[subject] = _Counter()
        return counter

    def _sweep(self, now: float) -> None:
        """Forget the counters that are as if new: whoever comes back finds the same."""
        self._counters = {
            subject: each
            for subject, each in self._counters.items()
            if each.inside or each.requests_at > now or each.tokens_at > now
        }
        self._sweep_at = max(SWEEP_AT, 2 * len(self._counters))

    def _open(self, key: str) -> _Open | None:
        """An account that has not ended. One that has is forgotten, unless something is still set aside in it."""
        found = self._accounts.get(key)
        if found is not None and found.until <= self._clock() and not found.reserved:
            del self._accounts[key]
            return None
        return found


def _refusal(bound: Bound, counter: _Counter, tokens: int, now: float) -> Refusal | None:
    """Why a call does not pass a counter; None where it does."""
    if bound.concurrency is not None and counter.inside >= bound.concurrency:
        return rates.refuse_concurrency(bound)
    refusal: Refusal | None = None
    if (limit := bound.rpm) is not None:
        refusal = rates.refuse_requests(bound, limit, max(counter.requests_at - now, 0.0))
    if refusal is None and (limit := bound.tpm) is not None:
        refusal = rates.refuse_tokens(bound, limit, max(counter.tokens_at - now, 0.0), tokens)
    return refusal
