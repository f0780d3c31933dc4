"""What a store does, whichever it is. Time is the test's own in memory; Redis has its own, so little is waited for."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import closing
from typing import Any

import pytest
import uvloop

from benchmarks.redis_server import RedisServer
from dujiang.core.limits import Bound, Permit, Refusal
from dujiang.storage.memory import MemoryStore
from dujiang.storage.redis.address import read_address
from dujiang.storage.redis.store import RedisStore
from dujiang.storage.store import (
    DEBT_S,
    PERIOD_S,
    Account,
    Balance,
    Hold,
    Reservation,
    Shortage,
    Store,
    Unopened,
)

Story = Callable[[Store], Awaitable[Any]]


class MemoryHome:
    """Here a second passes when the test says so."""

    is_exact = True

    def __init__(self) -> None:
        self.now = 1000.0

    def run(self, story: Story) -> Any:
        async def whole() -> Any:
            store = MemoryStore(lambda: self.now)
            try:
                return await story(store)
            finally:
                await store.close()

        return asyncio.run(whole())

    async def wait(self, seconds: float) -> None:
        self.now += seconds

    async def told(self, store: Store) -> None:
        """Until what is told without waiting has arrived."""


class RedisHome:
    is_exact = False

    def __init__(self, url: str) -> None:
        self.url = url

    def open(self) -> Store:
        """With patience: what is done without the server is tested elsewhere."""
        return RedisStore(read_address(self.url), command_s=10)

    def run(self, story: Story) -> Any:
        async def whole() -> Any:
            store = self.open()
            try:
                return await story(store)
            finally:
                await store.close()

        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(whole())

    async def wait(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    async def told(self, store: Any) -> None:
        await store._leaving.flushed()
        await store._settling.flushed()


Home = MemoryHome | RedisHome


@pytest.fixture(params=["memory", "valkey", "valkey-socket", "redis-debian"])
def home(request: pytest.FixtureRequest) -> Iterator[Home]:
    if request.param == "memory":
        yield MemoryHome()
        return
    server: RedisServer = request.getfixturevalue(
        "debian_redis" if request.param == "redis-debian" else "valkey_server"
    )
    with closing(server.client()) as client:
        client.flushall()
        yield RedisHome(server.socket_url if request.param == "valkey-socket" else server.url)
        assert [key for key in client.scan_iter() if client.ttl(key) < 0] == []
        assert [key for key in client.scan_iter() if not key.startswith(b"dujiang:")] == []


ACCOUNT = Account("shop/2026-11", 1000)


def holds(*amounts, account=ACCOUNT):
    return [Hold(account, amount) for amount in amounts]


async def admitted(store: Store, bounds, tokens=0) -> Permit:
    answer = await store.admit(bounds, tokens)
    assert isinstance(answer, Permit), answer
    return answer


async def refused(store: Store, bounds, tokens=0) -> Refusal:
    answer = await store.admit(bounds, tokens)
    assert isinstance(answer, Refusal), answer
    return answer


async def reserved(store: Store, holds) -> Reservation:
    answer = await store.reserve(holds)
    assert isinstance(answer, Reservation), answer
    return answer


async def opened(store: Store, spent=0, corrections=(), account=ACCOUNT, ttl_s=3600.0):
    await store.open(account, spent, corrections, ttl_s)


# ---- rates ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("limit", [1, 3, 20])
def test_a_minutes_requests_pass_at_once_and_not_one_more(home, limit):
    async def story(store):
        answers = await asyncio.gather(*(store.admit([Bound("a", rpm=limit)], 0) for _ in range(limit + 15)))
        assert [isinstance(each, Permit) for each in answers] == [True] * limit + [False] * 15

    home.run(story)


@pytest.mark.parametrize("limit", [7, 1999, 7919])
def test_a_large_limit_is_not_worn_by_rounding(home, limit):
    async def story(store):
        began = time.monotonic()
        passed = 0
        for _ in range(0, limit + 100, 100):
            answers = await asyncio.gather(*(store.admit([Bound("a", rpm=limit)], 0) for _ in range(100)))
            passed += sum(isinstance(each, Permit) for each in answers)
        refilled = 0 if home.is_exact else int((time.monotonic() - began) * limit / PERIOD_S) + 1
        assert limit <= passed <= limit + refilled

    home.run(story)


def test_it_comes_back_evenly(home):
    async def story(store):
        bounds = [Bound("a", rpm=120)]
        answers = await asyncio.gather(*(store.admit(bounds, 0) for _ in range(140)))
        assert sum(isinstance(each, Permit) for each in answers) in ([120] if home.is_exact else range(120, 123))
        refusal = next(each for each in reversed(answers) if isinstance(each, Refusal))
        await home.wait(refusal.retry_after_s)
        await admitted(store, bounds)

    home.run(story)


def test_a_refusal_says_when(home):
    async def story(store):
        bound = Bound("a", rpm=6)
        began = time.monotonic()
        left = [(await admitted(store, [bound])).requests_left for _ in range(6)]
        refusal = await refused(store, [bound])
        late_s = 0.0 if home.is_exact else time.monotonic() - began
        assert [each.remaining for each in left] == [5, 4, 3, 2, 1, 0]
        assert left[0].reset_s == pytest.approx(10, abs=1e-5)
        assert left[0].limit == 6
        assert refusal.name == "requests"
        assert refusal.bound == bound
        assert 10 - late_s - 1e-5 <= refusal.retry_after_s <= 10
        assert refusal.standing.remaining == 0
        assert 60 - late_s - 1e-5 <= refusal.standing.reset_s <= 60 + 1e-5

    home.run(story)


def test_an_unused_counter_lets_no_more_than_a_minute_through(home):
    async def story(store):
        await admitted(store, [Bound("a", rpm=600)])
        await home.wait(0.3)
        permit = await admitted(store, [Bound("a", rpm=600)])
        assert permit.requests_left.remaining == 599

    home.run(story)


def test_several_limits_count_all_or_nothing(home):
    async def story(store):
        wide, narrow = Bound("app", rpm=6, tpm=600, concurrency=2), Bound("user", rpm=1)
        first = await admitted(store, [wide, narrow], 100)
        assert first.requests_left.limit == 1
        assert (await refused(store, [wide, narrow], 100)).bound == narrow
        permit = await admitted(store, [wide], 100)
        assert permit.requests_left.remaining == 4
        assert permit.tokens_left.remaining in range(400, 411)
        assert (await refused(store, [wide], 100)).name == "concurrency"

    home.run(story)


def test_the_same_subject_shares_and_others_do_not(home):
    async def story(store):
        await admitted(store, [Bound("a", rpm=1)])
        await admitted(store, [Bound("b", rpm=1)])
        assert (await refused(store, [Bound("a", rpm=1)])).bound.subject == "a"

    home.run(story)


def test_without_a_limit_all_pass(home):
    async def story(store):
        permit = await admitted(store, [Bound("a")], 10**9)
        assert permit.requests_left is permit.tokens_left is None
        await admitted(store, [])

    home.run(story)


# ---- tokens ---------------------------------------------------------------------------------------------------------


def test_tokens_are_counted_ahead_and_what_was_not_used_comes_back(home):
    async def story(store):
        bound = Bound("a", tpm=600)
        permit = await admitted(store, [bound], 600)
        assert permit.tokens_left.remaining == 0
        assert (await refused(store, [bound], 60)).name == "tokens"
        store.leave(permit, 100)
        await home.told(store)
        assert (await admitted(store, [bound], 500)).tokens_left.remaining in range(12)

    home.run(story)


def test_more_tokens_than_a_minute_has_are_counted_as_a_minutes(home):
    async def story(store):
        bound = Bound("a", tpm=600)
        permit = await admitted(store, [bound], 5000)
        store.leave(permit, 5000)
        await home.told(store)
        began = time.monotonic()
        refusal = await refused(store, [bound], 1)
        assert refusal.retry_after_s == pytest.approx(DEBT_S + 0.1, abs=1e-5 if home.is_exact else 1)
        assert time.monotonic() - began < 5

    home.run(story)


@pytest.mark.parametrize("used", [300, 1200, 9000])
def test_a_debt_is_a_minute_at_most(home, used):
    async def story(store):
        bound = Bound("a", tpm=600)
        store.leave(await admitted(store, [bound]), used)
        await home.told(store)
        refusal = await refused(store, [bound], 600)
        longest = min(used / 10, PERIOD_S + DEBT_S)
        assert refusal.retry_after_s == pytest.approx(longest, abs=1e-5 if home.is_exact else 1)

    home.run(story)


# ---- calls at once --------------------------------------------------------------------------------------------------


def test_slots_are_taken_and_given_back(home):
    async def story(store):
        bound = Bound("a", concurrency=2)
        first, _ = await admitted(store, [bound]), await admitted(store, [bound])
        refusal = await refused(store, [bound])
        assert (refusal.name, refusal.standing, refusal.retry_after_s) == ("concurrency", None, 1.0)
        store.leave(first, 0)
        await home.told(store)
        await admitted(store, [bound])
        await refused(store, [bound])

    home.run(story)


def test_as_many_as_there_are_slots_of_all_that_come_at_once(home):
    async def story(store):
        bounds = [Bound("a", concurrency=7), Bound("b", rpm=100)]
        for _ in range(3):
            answers = await asyncio.gather(*(store.admit(bounds, 0) for _ in range(40)))
            inside = [each for each in answers if isinstance(each, Permit)]
            assert len(inside) == 7
            for permit in inside:
                store.leave(permit, 0)
            await home.told(store)
        permit = await admitted(store, [Bound("b", rpm=100)])
        assert permit.requests_left.remaining in range(100 - 22, 100 - 18)

    home.run(story)


def test_no_slot_is_held_by_a_caller_that_left_while_asking(home):
    async def story(store):
        bound = Bound("a", concurrency=1)
        asking = asyncio.create_task(store.admit([bound], 0))
        await asyncio.sleep(0)
        asking.cancel()
        left = await asyncio.gather(asking, return_exceptions=True)
        if isinstance(left[0], Permit):
            store.leave(left[0], 0)
        await asyncio.sleep(0.05)
        await home.told(store)
        await admitted(store, [bound])

    home.run(story)


# ---- budgets --------------------------------------------------------------------------------------------------------


def test_an_account_is_opened_before_it_is_used(home):
    async def story(store):
        other = Account("other", 5)
        assert await store.reserve([*holds(10), Hold(other, 1)]) == Unopened((ACCOUNT, other))
        await opened(store, 900)
        assert await store.reserve([*holds(10), Hold(other, 1)]) == Unopened((other,))
        assert await store.balances([ACCOUNT.key, other.key]) == [Balance(900, 0), None]

    home.run(story)


def test_what_is_open_is_not_opened_again(home):
    async def story(store):
        await opened(store, 900, ["x"])
        await opened(store, 5, ["y"])
        await store.correct(ACCOUNT.key, "x", 1)
        await store.correct(ACCOUNT.key, "y", 10)
        assert await store.balances([ACCOUNT.key]) == [Balance(910, 0)]

    home.run(story)


def test_money_is_set_aside_and_settled(home):
    async def story(store):
        await opened(store, 100)
        first = await reserved(store, holds(300))
        second = await reserved(store, holds(600))
        assert await store.reserve(holds(1)) == Shortage(ACCOUNT, 100, 900)
        store.settle(first, [50])
        await home.told(store)
        assert await store.balances([ACCOUNT.key]) == [Balance(150, 600)]
        store.settle(second, [0])
        await home.told(store)
        assert await store.balances([ACCOUNT.key]) == [Balance(150, 0)]

    home.run(story)


def test_all_accounts_or_none(home):
    async def story(store):
        small = Account("small", 10)
        await opened(store)
        await opened(store, 4, account=small)
        one = await reserved(store, [Hold(small, 6)])
        assert await store.reserve([*holds(10), Hold(small, 1)]) == Shortage(small, 4, 6)
        assert await store.balances([ACCOUNT.key]) == [Balance(0, 0)]
        store.settle(one, [0])
        await home.told(store)
        both = await reserved(store, [*holds(10), Hold(small, 1)])
        store.settle(both, [7, 3])
        await home.told(store)
        assert await store.balances([ACCOUNT.key, "small"]) == [Balance(7, 0), Balance(7, 0)]

    home.run(story)


@pytest.mark.parametrize(("spent", "aside", "amount", "passes"), [
    (0, 0, 1000, True),
    (999, 0, 1, True),
    (999, 0, 50_000, True),  # the last one, estimated too high
    (1000, 0, 0, True),
    (1000, 0, 1, False),
    (1200, 0, 1, False),
    (0, 1, 999, True),
    (0, 1, 1000, False),
    (998, 1, 1, True),
    (-50, 0, 1050, True),
])  # fmt: skip
def test_it_fits_or_nothing_is_aside_and_not_all_is_spent(home, spent, aside, amount, passes):
    async def story(store):
        await opened(store, spent)
        if aside:
            await reserved(store, holds(aside))
        answer = await store.reserve(holds(amount))
        assert isinstance(answer, Reservation) == passes
        if not passes:
            assert answer == Shortage(ACCOUNT, spent, aside)
            assert answer.is_spent == (spent >= 1000)

    home.run(story)


def test_two_hundred_at_once_for_money_for_twenty(home):
    async def story(store):
        await opened(store)
        answers = await asyncio.gather(*(store.reserve(holds(50)) for _ in range(200)))
        held = [each for each in answers if isinstance(each, Reservation)]
        assert len(held) == 20
        for each in held:
            store.settle(each, [50])
        await home.told(store)
        assert await store.balances([ACCOUNT.key]) == [Balance(1000, 0)]
        assert await store.reserve(holds(1)) == Shortage(ACCOUNT, 1000, 0)

    home.run(story)


def test_large_sums_are_exact(home):
    async def story(store):
        account = Account("large", 9_000_000_000_000_000)
        await opened(store, 4_503_599_627_370_497, account=account)
        held = await reserved(store, [Hold(account, 4_000_000_000_000_001)])
        assert await store.balances(["large"]) == [Balance(4_503_599_627_370_497, 4_000_000_000_000_001)]
        store.settle(held, [4_000_000_000_000_003])
        await home.told(store)
        assert await store.balances(["large"]) == [Balance(8_503_599_627_370_500, 0)]

    home.run(story)


def test_a_correction_counts_once(home):
    async def story(store):
        await opened(store, 100, ["before"])
        for name, amount in (("a", 50), ("a", 50), ("before", 1000), ("b", -30), ("b", -30)):
            await store.correct(ACCOUNT.key, name, amount)
        await store.correct("nobody", "a", 50)
        assert await store.balances([ACCOUNT.key, "nobody"]) == [Balance(120, 0), None]

    home.run(story)


def test_many_corrections_are_known_from_the_start(home):
    async def story(store):
        await opened(store, 1, [f"c{number}" for number in range(9000)])
        await store.correct(ACCOUNT.key, "c8999", 5)
        assert await store.balances([ACCOUNT.key]) == [Balance(1, 0)]

    home.run(story)


def test_an_account_ends(home):
    async def story(store):
        await opened(store, 5, ttl_s=0.2)
        await home.wait(0.3)
        assert await store.balances([ACCOUNT.key]) == [None]
        assert await store.reserve(holds(1)) == Unopened((ACCOUNT,))

    home.run(story)


# ---- values and news ------------------------------------------------------------------------------------------------


def test_values_last_as_long_as_is_said(home):
    async def story(store):
        assert await store.get("a") is None
        await store.put("a", b"\x00\xff", 60)
        await store.put("short", b"x", 0.2)
        assert await store.get("a") == b"\x00\xff"
        assert await store.get("short") == b"x"
        await store.put("a", b"other", 60)
        assert await store.get("a") == b"other"
        await store.delete("a")
        await store.delete("a")
        await home.wait(0.3)
        assert [await store.get("a"), await store.get("short")] == [None, None]

    home.run(story)


def test_news_reach_who_subscribed(home):
    async def story(store):
        heard: list[bytes] = []
        store.subscribe("breaker", heard.append)
        store.subscribe("other", heard.append)
        give_up = time.monotonic() + 20
        while not heard and time.monotonic() < give_up:
            store.publish("breaker", b"first")
            await asyncio.sleep(0.02)
        assert set(heard) == {b"first"}
        heard.clear()
        arrived = asyncio.Event()
        store.subscribe("breaker", lambda message: arrived.set() if message == b"open" else None)
        store.publish("nobody", b"unheard")
        store.publish("breaker", b"open")
        await asyncio.wait_for(arrived.wait(), 20)
        assert b"open" in heard
        assert b"unheard" not in heard

    home.run(story)


def test_it_is_well(home):
    async def story(store):
        give_up = time.monotonic() + 20
        while store.state() != "ok" and time.monotonic() < give_up:  # noqa: ASYNC110 nobody tells
            await asyncio.sleep(0.01)
        assert store.state() == "ok"

    home.run(story)


def test_two_processes_share(home):
    if home.is_exact:
        return

    async def story(store):
        other = home.open()
        try:
            await opened(store)
            await reserved(other, holds(600))
            assert await store.reserve(holds(600)) == Shortage(ACCOUNT, 0, 600)
            await admitted(store, [Bound("a", rpm=1, concurrency=1)])
            assert (await refused(other, [Bound("a", concurrency=1)])).name == "concurrency"
            await store.put("k", b"v", 60)
            assert await other.get("k") == b"v"
        finally:
            await other.close()

    home.run(story)


def test_what_is_told_at_the_end_is_told(home):
    """A store that closes says first what it still has to."""
    if home.is_exact:
        return

    async def spend(store):
        await opened(store)
        store.settle(await reserved(store, holds(300)), [123])

    async def look(store):
        return await store.balances([ACCOUNT.key])

    home.run(spend)
    assert home.run(look) == [Balance(123, 0)]
