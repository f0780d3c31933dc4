"""The store in memory does what a few plain lines say, and Redis does what the store in memory does."""

import asyncio
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import count
from typing import Any

import pytest
import uvloop
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from dujiang.core.limits import Bound, Permit, Refusal
from dujiang.storage.memory import MemoryStore
from dujiang.storage.redis.address import read_address
from dujiang.storage.redis.store import RedisStore
from dujiang.storage.store import Account, Balance, Hold, Reservation, Shortage, Store, Unopened

BOUNDS = (
    Bound("app", rpm=6, tpm=10, concurrency=3),
    Bound("key", rpm=3),
    Bound("user", tpm=5),
    Bound("model", concurrency=2),
    Bound("open"),
)
ACCOUNTS = (Account("month", 100), Account("day", 30))

some_bounds = st.lists(st.sampled_from(BOUNDS), unique=True, max_size=3)
some_tokens = st.integers(0, 14)
some_holds = st.lists(
    st.builds(Hold, st.sampled_from(ACCOUNTS), st.integers(0, 60)), unique_by=lambda hold: hold.account, max_size=2
)


@dataclass
class Level:
    """How much has passed that the minute has not taken yet."""

    requests: Fraction = Fraction(0)
    tokens: Fraction = Fraction(0)
    inside: int = 0

    def leak(self, bound: Bound, seconds: int) -> None:
        self.requests = max(Fraction(0), self.requests - Fraction((bound.rpm or 0) * seconds, 60))
        self.tokens = max(Fraction(0), self.tokens - Fraction((bound.tpm or 0) * seconds, 60))

    def refuses(self, bound: Bound, tokens: int) -> str | None:
        if bound.concurrency is not None and self.inside >= bound.concurrency:
            return "concurrency"
        if bound.rpm is not None and self.requests + 1 > bound.rpm:
            return "requests"
        if bound.tpm is not None and self.tokens + min(tokens, bound.tpm) > bound.tpm:
            return "tokens"
        return None


class MemoryMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.now = 0
        self.store = MemoryStore(lambda: self.now)
        self.levels = {bound: Level() for bound in BOUNDS}
        self.inside: list[Permit] = []
        self.spent: dict[str, int] = {}
        self.held: list[Reservation] = []
        self.corrected: set[tuple[str, str]] = set()

    @rule(seconds=st.integers(1, 70))
    def wait(self, seconds):
        self.now += seconds
        for bound, level in self.levels.items():
            level.leak(bound, seconds)

    @rule(bounds=some_bounds, tokens=some_tokens)
    def admit(self, bounds, tokens):
        answer = asyncio.run(self.store.admit(bounds, tokens))
        reasons = [(reason, bound) for bound in bounds if (reason := self.levels[bound].refuses(bound, tokens))]
        if reasons:
            assert isinstance(answer, Refusal)
            assert (answer.name, answer.bound) == reasons[0]
            return
        assert isinstance(answer, Permit)
        self.inside.append(answer)
        for bound in bounds:
            level = self.levels[bound]
            level.inside += 1
            level.requests += 1
            level.tokens += min(tokens, bound.tpm or 0)

    @precondition(lambda self: self.inside)
    @rule(data=st.data(), tokens=some_tokens)
    def leave(self, data, tokens):
        permit = self.inside.pop(data.draw(st.integers(0, len(self.inside) - 1)))
        self.store.leave(permit, tokens)
        for bound in permit.bounds:
            level = self.levels[bound]
            level.inside -= 1
            if bound.tpm is not None:
                more = level.tokens + tokens - min(permit.tokens, bound.tpm)
                level.tokens = max(Fraction(0), min(more, Fraction(2 * bound.tpm)))

    @rule(holds=some_holds)
    def reserve(self, holds):
        answer = asyncio.run(self.store.reserve(holds))
        unopened = tuple(hold.account for hold in holds if hold.account.key not in self.spent)
        if unopened:
            assert answer == Unopened(unopened)
            return
        short = [hold.account for hold in holds if not self.takes(hold)]
        if short:
            assert answer == Shortage(short[0], self.spent[short[0].key], self.aside(short[0].key))
        else:
            assert isinstance(answer, Reservation)
            self.held.append(answer)

    @precondition(lambda self: self.held)
    @rule(data=st.data(), spent=st.integers(0, 60))
    def settle(self, data, spent):
        reservation = self.held.pop(data.draw(st.integers(0, len(self.held) - 1)))
        self.store.settle(reservation, [spent] * len(reservation.holds))
        for hold in reservation.holds:
            self.spent[hold.account.key] += spent

    @rule(account=st.sampled_from(ACCOUNTS), spent=st.integers(0, 20), known=st.sets(st.sampled_from("abc")))
    def open(self, account, spent, known):
        asyncio.run(self.store.open(account, spent, known, 10**9))
        if account.key not in self.spent:
            self.spent[account.key] = spent
            self.corrected |= {(account.key, name) for name in known}

    @rule(account=st.sampled_from(ACCOUNTS), name=st.sampled_from("abc"), amount=st.integers(-10, 10))
    def correct(self, account, name, amount):
        asyncio.run(self.store.correct(account.key, name, amount))
        if account.key in self.spent and (account.key, name) not in self.corrected:
            self.corrected.add((account.key, name))
            self.spent[account.key] += amount

    @invariant()
    def balances(self):
        expected = [
            Balance(self.spent[key], self.aside(key)) if key in self.spent else None for key in ("month", "day")
        ]
        assert asyncio.run(self.store.balances(["month", "day"])) == expected

    def aside(self, key):
        return sum(hold.amount_micros for each in self.held for hold in each.holds if hold.account.key == key)

    def takes(self, hold):
        spent, aside, limit = self.spent[hold.account.key], self.aside(hold.account.key), hold.account.limit_micros
        return spent + aside + hold.amount_micros <= limit or (not aside and spent < limit)


MemoryMachine.TestCase.settings = settings(stateful_step_count=40, max_examples=60)
TestMemory = MemoryMachine.TestCase


# ---- Redis does the same --------------------------------------------------------------------------------------------

steps = st.lists(
    st.one_of(
        st.tuples(st.just("admit"), some_bounds, some_tokens),
        st.tuples(st.just("leave"), st.integers(0, 5), some_tokens),
        st.tuples(st.just("reserve"), some_holds),
        st.tuples(st.just("settle"), st.integers(0, 5), st.integers(0, 60)),
        st.tuples(st.just("open"), st.sampled_from(ACCOUNTS), st.integers(0, 20), st.sets(st.sampled_from("abc"))),
        st.tuples(st.just("correct"), st.sampled_from(ACCOUNTS), st.sampled_from("abc"), st.integers(-10, 10)),
    ),
    max_size=40,
)


@dataclass
class Player:
    """Plays a script on a store, under names of its own, and says what came of each step. No time is to pass: a second
    of it changes no answer here.
    """

    store: Store
    name: str
    inside: list[Permit] = field(default_factory=list)
    held: list[Reservation] = field(default_factory=list)

    async def play(self, step: tuple[Any, ...]) -> Any:
        kind, *rest = step
        result = await getattr(self, kind)(*rest)
        if isinstance(self.store, RedisStore):
            await self.store._leaving.flushed()
            await self.store._settling.flushed()
        return result, await self.store.balances([self.mine(account).key for account in ACCOUNTS])

    def mine(self, account: Account) -> Account:
        return Account(f"{self.name}:{account.key}", account.limit_micros)

    async def admit(self, bounds, tokens):
        named = [Bound(f"{self.name}:{bound.subject}", bound.rpm, bound.tpm, bound.concurrency) for bound in bounds]
        answer = await self.store.admit(named, tokens)
        if isinstance(answer, Refusal):
            return answer.name, answer.bound
        self.inside.append(answer)
        left = (answer.requests_left, answer.tokens_left)
        return [(each.limit, each.remaining) if each else None for each in left]

    async def leave(self, number, tokens):
        if number < len(self.inside):
            self.store.leave(self.inside.pop(number), tokens)

    async def reserve(self, holds):
        answer = await self.store.reserve([Hold(self.mine(hold.account), hold.amount_micros) for hold in holds])
        if not isinstance(answer, Reservation):
            return answer
        self.held.append(answer)
        return answer.holds

    async def settle(self, number, spent):
        if number < len(self.held):
            reservation = self.held.pop(number)
            self.store.settle(reservation, [spent] * len(reservation.holds))

    async def open(self, account, spent, known):
        await self.store.open(self.mine(account), spent, known, 3600)

    async def correct(self, account, name, amount):
        await self.store.correct(self.mine(account).key, name, amount)


@pytest.fixture(scope="module")
def shared(valkey_server) -> Iterator[tuple[asyncio.Runner, RedisStore]]:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner, closing(valkey_server.client()) as client:
        client.flushall()

        async def make() -> RedisStore:
            return RedisStore(read_address(valkey_server.url), command_s=10)

        store = runner.run(make())
        yield runner, store
        runner.run(store.close())


names = count()


@settings(max_examples=100, suppress_health_check=[HealthCheck.too_slow])
@given(script=steps)
def test_redis_does_what_memory_does(shared, script):
    runner, store = shared
    name = str(next(names))
    players = Player(MemoryStore(lambda: 1000.0), name), Player(store, name)

    async def both() -> None:
        for step in script:
            expected, found = [await player.play(step) for player in players]
            assert found == expected

    runner.run(both())
