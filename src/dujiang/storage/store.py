"""State that all calls share: how much has passed, who is inside, what money is set aside; small values, and news.

In one process it lives in memory (`MemoryStore`); processes share it through Redis or Valkey (`RedisStore`).

Rates are counted by the generic cell rate algorithm (GCRA: ITU-T I.371, in its virtual scheduling form): a counter is
one moment, the theoretical arrival time, up to which the passed is paid for. A minute's worth may pass at once, then it
comes back evenly. A counter whose moment is past is the same as none.
"""

from collections.abc import Callable, Collection, Sequence
from typing import Protocol

from msgspec import Struct

from dujiang.core.limits import Bound, Permit, Refusal

PERIOD_S = 60.0
"""Rates are per minute, and so is how much of one may pass at once."""

DEBT_S = 60.0
"""How much later than a full counter one may be that was charged more tokens than there were: whoever asked for one
long answer waits a minute at most, not a minute for each minute's worth.
"""


class Account(Struct, frozen=True):
    """A budget of one subject in one window of time: what `key` names, and what may be spent of it, in micro-units."""

    key: str
    limit_micros: int


class Hold(Struct, frozen=True):
    """Money to set aside in an account before it is spent."""

    account: Account
    amount_micros: int


class Reservation(Struct):
    """Money that is set aside until it is settled, or until its process has been gone for a lease's length."""

    holds: tuple[Hold, ...]
    lease: str = ""


class Shortage(Struct, frozen=True):
    """The account that has too little left. `is_spent`: for good; otherwise what is set aside may come back."""

    account: Account
    spent_micros: int
    reserved_micros: int

    @property
    def is_spent(self) -> bool:
        return self.spent_micros >= self.account.limit_micros


class Unopened(Struct, frozen=True):
    """The accounts that the store does not have: it must be told what is spent already before any is set aside."""

    accounts: tuple[Account, ...]


class Balance(Struct, frozen=True):
    """What is spent and what is set aside, in micro-units."""

    spent_micros: int
    reserved_micros: int


class Store(Protocol):
    """Every coroutine ends within 60 ms, whatever the network does; what happens instead is each implementation's to
    say. The other methods never wait and never raise: what they ask for happens soon.
    """

    async def admit(self, bounds: Sequence[Bound], tokens: int) -> Permit | Refusal:
        """Count one request of `tokens` in all of `bounds`, or in none where one of them is full.

        A call that asks for more tokens than a minute has is counted as a minute's. Who is inside is known for certain
        only of subjects that limit it. Each subject is in `bounds` once.
        """
        ...

    def leave(self, permit: Permit, tokens: int) -> None:
        """The call is over, and used `tokens`."""
        ...

    async def reserve(self, holds: Sequence[Hold]) -> Reservation | Shortage | Unopened:
        """Set money aside in all accounts, or in none.

        An account takes a hold where it fits, and where nothing is set aside and not all is spent: so that the last
        call of a window is not refused for being estimated too high, and what is overspent is one call's.
        """
        ...

    def settle(self, reservation: Reservation, spent_micros: Sequence[int]) -> None:
        """What was set aside is free again; of each account this much was spent."""
        ...

    async def open(self, account: Account, spent_micros: int, corrections: Collection[str], ttl_s: float) -> None:
        """Begin an account with what is spent already, `corrections` (their ids) included; nothing changes where it is
        open. It ends `ttl_s` from now.
        """
        ...

    async def correct(self, key: str, correction_id: str, amount_micros: int) -> None:
        """Count an amount, which may be negative, as spent of an open account, once for each `correction_id`."""
        ...

    async def balances(self, keys: Sequence[str]) -> list[Balance | None]:
        """How accounts stand; None for one that is not open."""
        ...

    async def get(self, key: str) -> bytes | None:
        """A small value; None where there is none, or no more."""
        ...

    async def put(self, key: str, value: bytes, ttl_s: float) -> None: ...

    async def delete(self, key: str) -> None: ...

    def publish(self, channel: str, message: bytes) -> None:
        """Tell all who subscribed, this process too. News may get lost: nobody relies on them alone."""
        ...

    def subscribe(self, channel: str, on_message: Callable[[bytes], None]) -> None:
        """Be told on the event loop's thread, until the store is closed."""
        ...

    def state(self) -> str:
        """`ok`, or what is wrong, for health."""
        ...

    async def close(self) -> None: ...
