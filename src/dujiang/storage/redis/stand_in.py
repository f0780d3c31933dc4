"""What a process decides by itself while the server is away: it lets through its share of each limit.

The share is the limit, or what was left of a budget when last heard, divided by the processes that there were; at least
1 of a rate. Counters go on from one time to the next, so that a server that comes and goes gives no new minutes away.
"""

import math
from collections.abc import Callable, Sequence
from time import monotonic
from typing import Final

from msgspec import structs

from dujiang.core.limits import Bound, Permit, Refusal
from dujiang.storage.memory import MemoryStore
from dujiang.storage.store import Account, Balance, Hold, Reservation, Shortage, Unopened

KNOWN_ACCOUNTS: Final = 20_000
"""Of so many accounts, those heard of last, the balance is remembered."""

KNOWN_S: Final = 600.0
"""One heard of longer before the server went away is not known: others may have spent what was left."""

_TTL_S = 400 * 24 * 3600.0


class StandIn:
    """`processes` is how many there were when last heard."""

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._rates = MemoryStore(clock)
        self._budgets = MemoryStore(clock)
        self._shares: dict[str, int] = {}
        self._reservations: dict[str, Reservation] = {}
        self._known: dict[str, Balance] = {}
        self._heard_at: dict[str, float] = {}
        self._there_at = clock()
        self.processes = 1

    def is_there(self, processes: int) -> None:
        """The server is there, and so many processes are."""
        self.processes = max(1, processes)
        self._there_at = self._clock()

    def hear(self, key: str, balance: Balance) -> None:
        """How an account stands, by the server."""
        if self._heard_at.pop(key, None) is None and len(self._heard_at) >= KNOWN_ACCOUNTS:
            oldest = next(iter(self._heard_at))
            del self._heard_at[oldest], self._known[oldest]
        self._heard_at[key] = self._clock()
        self._known[key] = balance

    def add(self, key: str, spent_micros: int, reserved_micros: int) -> None:
        """What this process did to an account since the server was last heard."""
        if (known := self._known.get(key)) is not None:
            self._known[key] = Balance(known.spent_micros + spent_micros, known.reserved_micros + reserved_micros)

    def end(self) -> None:
        """The server is there again: what is left of a budget is divided anew the next time that it is away."""
        self._budgets = MemoryStore(self._clock)
        self._shares.clear()
        self._reservations.clear()

    def forget(self) -> None:
        """The server has forgotten its accounts: what was heard of them is worth nothing."""
        self._known.clear()
        self._heard_at.clear()

    async def admit(self, bounds: Sequence[Bound], tokens: int) -> Permit | Refusal:
        answer = await self._rates.admit([self._share(bound) for bound in bounds], tokens)
        if isinstance(answer, Permit):
            return answer
        return structs.replace(answer, bound=next(bound for bound in bounds if bound.subject == answer.bound.subject))

    def leave(self, permit: Permit, tokens: int) -> None:
        self._rates.leave(permit, tokens)

    async def reserve(self, holds: Sequence[Hold], name: str) -> Shortage | None:
        """None where money is set aside, under this name. Nothing is of an account of which nothing is known."""
        for hold in holds:
            if self._heard_at.get(hold.account.key, -math.inf) < self._there_at - KNOWN_S:
                return Shortage(hold.account, 0, hold.account.limit_micros)
        shared = [Hold(await self._part_of(hold.account), hold.amount_micros) for hold in holds]
        answer = await self._budgets.reserve(shared)
        if not isinstance(answer, Reservation):
            return self._shortage(answer, holds)
        self._reservations[name] = answer
        for hold in holds:
            self.add(hold.account.key, 0, hold.amount_micros)
        return None

    def settle(self, name: str, spent_micros: Sequence[int]) -> None:
        if (reservation := self._reservations.pop(name, None)) is not None:
            self._budgets.settle(reservation, spent_micros)

    def balances(self, keys: Sequence[str]) -> list[Balance | None]:
        """As last heard."""
        return [self._known.get(key) for key in keys]

    def _share(self, bound: Bound) -> Bound:
        return Bound(bound.subject, self._part(bound.rpm), self._part(bound.tpm), self._part(bound.concurrency))

    def _part(self, limit: int | None) -> int | None:
        return None if limit is None else max(1, limit // self.processes)

    async def _part_of(self, account: Account) -> Account:
        """This process's part of what was left of an account when the server went away."""
        key = account.key
        if key not in self._shares:
            known = self._known[key]
            left = max(0, account.limit_micros - known.spent_micros - known.reserved_micros)
            self._shares[key] = left // self.processes
            await self._budgets.open(Account(key, 0), 0, (), _TTL_S)
        return Account(key, self._shares[key])

    def _shortage(self, answer: Shortage | Unopened, holds: Sequence[Hold]) -> Shortage:
        """In the caller's terms: what others may spend is set aside for them."""
        short = answer.account if isinstance(answer, Shortage) else answer.accounts[0]
        account = next(hold.account for hold in holds if hold.account.key == short.key)
        spent = self._known[account.key].spent_micros
        return Shortage(account, spent, max(account.limit_micros - spent, 0))
