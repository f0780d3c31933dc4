"""`RedisStore`: what all calls share, across processes. See docs/decisions/0010-shared-state.md."""

import asyncio
import secrets
from asyncio import Task
from collections.abc import Callable, Collection, Coroutine, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, Final

from dujiang.core.limits import Bound, Permit, Refusal
from dujiang.storage import rates
from dujiang.storage.redis.address import NewConnection
from dujiang.storage.redis.leases import LEASE_S, RENEWALS, Lease, Leases
from dujiang.storage.redis.link import COMMAND_S, Ask, Link, StoreAway, Word, is_done
from dujiang.storage.redis.news import NEWS, News
from dujiang.storage.redis.outbox import Lane, Row
from dujiang.storage.redis.scripts import (
    ADMIT,
    BALANCES,
    CORRECT,
    GREET,
    LEAVE,
    OPEN,
    PREFIX,
    RESERVE,
    SCRIPTS,
    SETTLE,
)
from dujiang.storage.redis.stand_in import StandIn
from dujiang.storage.store import Account, Balance, Hold, Reservation, Shortage, Unopened

CLOSE_S: Final = 1.0
"""How long closing waits for what is still to be told."""

_EPOCH: Final = f"{PREFIX}epoch"
_PROCESSES: Final = f"{PREFIX}processes"
_ALONE: Final = "~"
"""How the names of permits and reservations begin that this process gave by itself."""

_QUEUED_CORRECTIONS: Final = 10_000


class RedisStore:
    """See `dujiang.storage.store`. Made on a running event loop, which keeps its tasks until `close()`.

    While the server is away: rates and calls at once are this process's share of them; budgets its share of what was
    left when last heard, nothing of those unheard of; values are absent; news reach this process alone.
    """

    def __init__(
        self, new_connection: NewConnection, *, lease_s: float = LEASE_S, command_s: float = COMMAND_S
    ) -> None:
        self._process = secrets.token_hex(6)
        self._leases = Leases(self._process, int(lease_s * 1000))
        self._stand_in = StandIn()
        self._epoch = self._server = ""
        self._owed: dict[tuple[str, str], int] = {}
        self._corrections: list[tuple[str, str, int]] = []
        self._returned = asyncio.Event()
        self._link = Link(new_connection, self._greet, command_s)
        sent = f"{PREFIX}sent:{self._process}"
        self._leaving = Lane(self._link, LEAVE, sent)
        self._settling = Lane(self._link, SETTLE, sent)
        self._news = News(new_connection)
        self._news.subscribe(_PROCESSES, self._count_processes)
        self._tasks = [
            _task("link", self._link.keep()),
            _task("leave", self._leaving.send()),
            _task("settle", self._settling.send()),
            _task("renew", self._renew()),
            _task("news", self._news.listen()),
        ]

    # ---- rates and calls at once --------------------------------------------------------------------------------

    async def admit(self, bounds: Sequence[Bound], tokens: int) -> Permit | Refusal:
        name = self._leases.new_name()
        keys = [key for bound in bounds for key in _counter_keys(bound)]
        limits = (_or_empty(limit) for bound in bounds for limit in (bound.rpm, bound.tpm, bound.concurrency))
        read = partial(_read_admission, bounds=bounds, tokens=tokens)
        try:
            answer = await self._link.run(ADMIT, keys, (name, self._leases.lease_ms, tokens, *limits), read)
        except StoreAway:
            return await self._admit_alone(bounds, tokens, _ALONE + name)
        except asyncio.CancelledError:
            self._give_back(Permit(tuple(bounds), lease=name), None)
            raise
        if isinstance(answer, Permit):
            self._admitted(answer, name)
        return answer

    def leave(self, permit: Permit, tokens: int) -> None:
        self._leases.end(permit.lease)
        if permit.lease.startswith(_ALONE):
            self._stand_in.leave(permit, tokens)
            self._give_back(permit, None)
        else:
            self._give_back(permit, tokens)

    async def _admit_alone(self, bounds: Sequence[Bound], tokens: int, name: str) -> Permit | Refusal:
        answer = await self._stand_in.admit(bounds, tokens)
        if isinstance(answer, Permit):
            self._admitted(answer, name)
        return answer

    def _admitted(self, permit: Permit, name: str) -> None:
        permit.lease = name
        limited = (bound for bound in permit.bounds if bound.concurrency is not None)
        self._leases.take(name, tuple(Lease(_counter_keys(bound)[1], name, "calls") for bound in limited))

    def _give_back(self, permit: Permit, tokens: int | None) -> None:
        """Tell the server that a call is over. While it is away that is dropped: the slot ends with its lease."""
        if self._link.is_away or self._leaving.is_full:
            return
        for bound in permit.bounds:
            lease = "" if bound.concurrency is None else permit.lease
            unforeseen: Word = ""
            if tokens is not None and (limit := bound.tpm) is not None and (more := tokens - min(permit.tokens, limit)):
                unforeseen = repr(more * rates.request_s(limit))
            if lease or unforeseen:
                self._leaving.put(Row(_counter_keys(bound), (lease, unforeseen)))

    # ---- budgets ------------------------------------------------------------------------------------------------

    async def reserve(self, holds: Sequence[Hold]) -> Reservation | Shortage | Unopened:
        name = self._leases.new_name()
        keys = [_EPOCH, *(key for hold in holds for key in _account_keys(hold.account.key))]
        amounts = (amount for hold in holds for amount in (hold.amount_micros, hold.account.limit_micros))
        values = (self._new_epoch(), name, self._leases.lease_ms, *amounts)
        reservation = Reservation(tuple(holds), f"{name} {self._epoch}")
        try:
            return await self._link.run(RESERVE, keys, values, partial(self._read_reservation, reservation, name))
        except StoreAway:
            reservation.lease = _ALONE + reservation.lease
            return await self._stand_in.reserve(holds, reservation.lease) or reservation
        except asyncio.CancelledError:
            for hold in holds:
                self._stand_in.add(hold.account.key, 0, hold.amount_micros)
            self.settle(reservation, [0] * len(holds))
            raise

    def settle(self, reservation: Reservation, spent_micros: Sequence[int]) -> None:
        name, _, epoch = reservation.lease.partition(" ")
        self._leases.end(name)
        self._stand_in.settle(reservation.lease, spent_micros)
        members = (lease.member for lease in _money_leases(reservation.holds, name))
        for hold, spent, member in zip(reservation.holds, spent_micros, members, strict=True):
            self._stand_in.add(hold.account.key, spent, -hold.amount_micros)
            if self._link.is_away or self._settling.is_full:
                owed = (epoch, hold.account.key)
                self._owed[owed] = self._owed.get(owed, 0) + spent
            else:
                self._settling.put(Row(_account_keys(hold.account.key), (epoch, member, spent)))

    async def open(self, account: Account, spent_micros: int, corrections: Collection[str], ttl_s: float) -> None:
        keys = [_EPOCH, *_account_keys(account.key), _corrections_key(account.key)]
        with suppress(StoreAway):
            await self._link.run(OPEN, keys, (self._new_epoch(), spent_micros, _ms(ttl_s), *corrections), is_done)

    async def correct(self, key: str, correction_id: str, amount_micros: int) -> None:
        keys = [_EPOCH, *_account_keys(key), _corrections_key(key)]
        try:
            await self._link.run(CORRECT, keys, (self._new_epoch(), correction_id, amount_micros), is_done)
        except StoreAway:
            if len(self._corrections) < _QUEUED_CORRECTIONS:
                self._corrections.append((key, correction_id, amount_micros))

    async def balances(self, keys: Sequence[str]) -> list[Balance | None]:
        names = [_EPOCH, *(name for key in keys for name in _account_keys(key))]
        try:
            return await self._link.run(BALANCES, names, (self._new_epoch(),), partial(self._read_balances, keys))
        except StoreAway:
            return self._stand_in.balances(keys)

    def _read_balances(self, keys: Sequence[str], reply: list[str]) -> list[Balance | None]:
        pairs = zip(keys, reply[::2], reply[1::2], strict=True)
        return [self._heard(key, spent, reserved) if spent != "-" else None for key, spent, reserved in pairs]

    def _read_reservation(
        self, reservation: Reservation, name: str, reply: list[str]
    ) -> Reservation | Shortage | Unopened:
        outcome, *rest = reply
        holds = reservation.holds
        if outcome == "unopened":
            return Unopened(tuple(holds[int(number) - 1].account for number in rest))
        if outcome == "short":
            account = holds[int(rest[0]) - 1].account
            balance = self._heard(account.key, *rest[1:])
            return Shortage(account, balance.spent_micros, balance.reserved_micros)
        if outcome != "held":
            raise ValueError(outcome)
        epoch, *numbers = rest
        for hold, spent, reserved in zip(holds, numbers[::2], numbers[1::2], strict=True):
            self._heard(hold.account.key, spent, reserved)
        reservation.lease = f"{name} {epoch}"
        self._leases.take(name, tuple(_money_leases(holds, name)))
        return reservation

    def _heard(self, key: str, spent: str, reserved: str) -> Balance:
        balance = Balance(int(spent), int(reserved))
        self._stand_in.hear(key, balance)
        return balance

    # ---- values and news ----------------------------------------------------------------------------------------

    async def get(self, key: str) -> bytes | None:
        with suppress(StoreAway):
            return await self._link.ask("GET", _value_key(key))
        return None

    async def put(self, key: str, value: bytes, ttl_s: float) -> None:
        with suppress(StoreAway):
            await self._link.ask("SET", _value_key(key), value, "PX", _ms(ttl_s))

    async def delete(self, key: str) -> None:
        with suppress(StoreAway):
            await self._link.ask("DEL", _value_key(key))

    def publish(self, channel: str, message: bytes) -> None:
        try:
            self._link.ask("PUBLISH", NEWS + channel, message).add_done_callback(_hear_out)
        except StoreAway:
            self._news.deliver(channel, message)

    def subscribe(self, channel: str, on_message: Callable[[bytes], None]) -> None:
        self._news.subscribe(channel, on_message)

    # ---- the server comes and goes ------------------------------------------------------------------------------

    def state(self) -> str:
        state = self._link.state()
        return "degraded: no news" if state == "ok" and not self._news.is_listening else state

    async def close(self) -> None:
        with suppress(TimeoutError, StoreAway):
            async with asyncio.timeout(CLOSE_S):
                if not self._link.is_away:
                    await self._leaving.flushed()
                    await self._settling.flushed()
                    await self._link.ask("ZREM", _PROCESSES, self._process)
        for task in self._tasks:
            task.cancel()
        await asyncio.wait(self._tasks, timeout=CLOSE_S)
        self._news.clear()

    async def _greet(self, ask: Ask) -> None:
        """Learn which server it is and what it has kept; it learns our scripts."""
        info, *_ = await ask(("INFO", "server"), *(("SCRIPT", "LOAD", script.text) for script in SCRIPTS))
        self._server = _run_of(info)
        keys, values = self._greeting()
        (reply,) = await ask(("EVALSHA", GREET.digest, len(keys), *keys, *values))
        self._greeted(reply.decode().split())
        self._stand_in.end()
        self._returned.set()

    def _greeting(self) -> tuple[list[str], list[Word]]:
        values: list[Word] = [self._new_epoch(), self._server, self._process, self._leases.lease_ms, NEWS + _PROCESSES]
        return [_EPOCH, _PROCESSES], values

    def _greeted(self, reply: list[str]) -> None:
        epoch, processes = reply
        if epoch != self._epoch:
            self._stand_in.forget()
            self._epoch = epoch
        self._count_processes(processes)

    def _count_processes(self, number: str | bytes) -> None:
        self._stand_in.is_there(int(number))

    def _new_epoch(self) -> str:
        """What a new epoch would be called."""
        return f"{self._server}{secrets.token_hex(6)}"

    async def _renew(self) -> None:
        """Say that this process is there, and what it holds; and tell what it could not while the server was away."""
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(self._leases.lease_ms / 1000 / RENEWALS):
                    await self._returned.wait()
            self._returned.clear()
            await self._link.up.wait()
            with suppress(StoreAway):
                await self._link.run(GREET, *self._greeting(), self._greeted)
                await self._leases.renew(self._link)
                self._pay()
                await self._correct_late()

    def _pay(self) -> None:
        while self._owed and not self._settling.is_full:
            (epoch, key), spent = self._owed.popitem()
            self._settling.put(Row(_account_keys(key), (epoch, "", spent)))

    async def _correct_late(self) -> None:
        late, self._corrections = self._corrections, []
        for correction in late:
            await self.correct(*correction)


def _read_admission(reply: list[str], bounds: Sequence[Bound], tokens: int) -> Permit | Refusal:
    number = int(reply[0])
    if number:
        return _refusal(bounds[number - 1], reply[1], float(reply[2]), tokens)
    permit = Permit(tuple(bounds), tokens)
    for bound, requests, used in zip(bounds, reply[1::2], reply[2::2], strict=True):
        if bound.rpm is not None:
            permit.requests_left = rates.tighter(permit.requests_left, bound.rpm, float(requests))
        if bound.tpm is not None:
            permit.tokens_left = rates.tighter(permit.tokens_left, bound.tpm, float(used))
    return permit


def _refusal(bound: Bound, name: str, ahead_s: float, tokens: int) -> Refusal:
    refusal: Refusal | None = None
    if name == "requests" and bound.rpm is not None:
        refusal = rates.refuse_requests(bound, bound.rpm, ahead_s)
    elif name == "tokens" and bound.tpm is not None:
        refusal = rates.refuse_tokens(bound, bound.tpm, ahead_s, tokens)
    return refusal or rates.refuse_concurrency(bound)


def _money_leases(holds: Sequence[Hold], name: str) -> list[Lease]:
    """A reservation that this process gave by itself has none that the server knows of; naming them does no harm."""
    return [
        Lease(_account_keys(hold.account.key)[1], f"{name}.{number}:{hold.amount_micros}", "money")
        for number, hold in enumerate(holds, 1)
    ]


def _counter_keys(bound: Bound) -> tuple[str, str]:
    """A counter, and the leases of the calls inside."""
    return f"{PREFIX}counter:{bound.subject}", f"{PREFIX}inside:{bound.subject}"


def _account_keys(key: str) -> tuple[str, str]:
    """An account, and what is set aside there."""
    return f"{PREFIX}account:{key}", f"{PREFIX}aside:{key}"


def _corrections_key(key: str) -> str:
    return f"{PREFIX}corrections:{key}"


def _value_key(key: str) -> str:
    return f"{PREFIX}value:{key}"


def _or_empty(limit: int | None) -> Word:
    return "" if limit is None else limit


def _ms(seconds: float) -> int:
    return max(1, int(seconds * 1000))


def _run_of(info: bytes) -> str:
    """A name for this run of the server."""
    for line in info.decode().splitlines():
        if line.startswith("run_id:"):
            return line.removeprefix("run_id:")[:12] + ":"
    return ""


def _hear_out(answer: "asyncio.Future[Any]") -> None:
    """Nobody waits for it: an error is no news."""
    if not answer.cancelled():
        answer.exception()


def _task(name: str, work: Coroutine[Any, Any, None]) -> "Task[None]":
    return asyncio.create_task(work, name=f"redis: {name}")
