"""Redis killed, frozen, emptied, slow and talking nonsense, and processes that die: nobody waits for long, what passes
meanwhile is bounded, and nothing is counted twice.
"""

import asyncio
import json
import logging
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import ExitStack, asynccontextmanager, closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import uvloop
from store_process import ACCOUNT, SLOT

from benchmarks.redis_server import PASSWORD, RedisServer
from dujiang.core.errors import Misconfigured
from dujiang.core.limits import Bound, Permit, Refusal
from dujiang.storage.memory import MemoryStore
from dujiang.storage.opening import open_store
from dujiang.storage.redis.address import read_address
from dujiang.storage.redis.link import COMMAND_S, FAILURES, GRACE_S
from dujiang.storage.redis.store import RedisStore
from dujiang.storage.store import Account, Balance, Hold, Reservation, Shortage, Store, Unopened

PROGRAM = Path(__file__).parents[1] / "store_process.py"
PATIENT_S = 10.0
"""A command's time where the server is well, however busy the machine is."""

LEASE_S = 1.2
GENEROUS_S = 1.0
"""What a call may take here that has 60 ms: the rest is the machine's."""

EMPTY = Account("empty", 1000)


def running(story: Coroutine[Any, Any, Any]) -> Any:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(story)


@asynccontextmanager
async def opened(server: RedisServer, **options: float):
    store = RedisStore(read_address(server.url), **options)
    try:
        await until(lambda: store.state() == "ok")
        yield store
    finally:
        await store.close()


async def until(holds: Callable[[], bool], within_s: float = 30.0) -> float:
    """How long it took."""
    began = time.monotonic()
    while not holds():
        assert time.monotonic() - began < within_s
        await asyncio.sleep(0.01)
    return time.monotonic() - began


async def until_answer(ask: Callable[[], Awaitable[Any]], holds: Callable[[Any], bool]) -> float:
    began = time.monotonic()
    while not holds(await ask()):
        assert time.monotonic() - began < 30
        await asyncio.sleep(0.02)
    return time.monotonic() - began


def at_once(asked: Awaitable[Any]) -> Any:
    """The answer of a coroutine that waits for nothing at all."""
    assert isinstance(asked, Coroutine)
    with pytest.raises(StopIteration) as done:
        asked.send(None)
    return done.value.value


async def longest_until_degraded(store: Store) -> float:
    """Call after call until the store says that the server is away: the longest that one took."""
    longest, give_up = 0.0, time.monotonic() + 30
    while store.state() in {"ok", "degraded: connecting", "degraded: no news"}:
        began = time.monotonic()
        assert began < give_up
        assert await store.get("nothing") is None
        longest = max(longest, time.monotonic() - began)
        await asyncio.sleep(0)
    return longest


@contextmanager
def process(url: str, *arguments: object) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, str(PROGRAM), url, *map(str, arguments)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        try:
            yield child
        finally:
            child.kill()


def flooded(server: RedisServer, limit: int, seconds: float, command_s: float, meanwhile: Callable[[], None]) -> Any:
    """What four processes have to say that let through all they may."""
    with ExitStack() as stack:
        children = [stack.enter_context(process(server.url, "flood", seconds, limit, command_s, 4)) for _ in range(4)]
        assert [child.stdout.readline() for child in children] == ["ready\n"] * 4
        for child in children:
            child.stdin.write("\n")
            child.stdin.flush()
        meanwhile()
        return [json.loads(child.stdout.readline()) for child in children]


# ---- several processes ----------------------------------------------------------------------------------------------


def test_four_processes_let_through_what_one_would(own_redis, record_property):
    limit = 3000
    reports = flooded(own_redis, limit, 5, PATIENT_S, lambda: None)
    passed = sum(report["passed"] for report in reports)
    elapsed_s = max(report["last"] for report in reports) - min(report["first"] for report in reports)
    expected = limit + limit * elapsed_s / 60
    record_property("admitted / allowed", passed / expected)
    assert passed == pytest.approx(expected, rel=0.01)
    assert min(report["passed"] for report in reports) > 0


def test_a_killed_process_gives_back_what_it_held(own_redis, record_property):
    async def story():
        async with opened(own_redis, command_s=PATIENT_S) as store:
            with process(own_redis.url, "hold", LEASE_S) as child:
                assert await asyncio.to_thread(child.stdout.readline) == "Permit Reservation\n"
                await asyncio.sleep(2 * LEASE_S)  # it is alive, so that its leases go on
                assert isinstance(await store.admit([SLOT], 0), Refusal)
                assert await store.reserve([Hold(ACCOUNT, 600)]) == Shortage(ACCOUNT, 0, 600)
            slot_s = await until_answer(lambda: store.admit([SLOT], 0), lambda answer: isinstance(answer, Permit))
            money = [Hold(ACCOUNT, 600)]
            await until_answer(lambda: store.reserve(money), lambda answer: isinstance(answer, Reservation))
            record_property("slot back after", slot_s)
            assert slot_s < LEASE_S + GENEROUS_S
            assert await store.balances([ACCOUNT.key]) == [Balance(0, 600)]

    running(story())


def test_the_number_of_processes_is_known(own_redis):
    async def story():
        async with opened(own_redis, lease_s=LEASE_S, command_s=PATIENT_S) as store:
            async with opened(own_redis, lease_s=LEASE_S, command_s=PATIENT_S):
                await until(lambda: store._stand_in.processes == 2)
            await until(lambda: store._stand_in.processes == 1)

    running(story())


def test_a_process_that_comes_is_known_at_once(own_redis):
    async def story():
        async with opened(own_redis, command_s=PATIENT_S) as store:
            await until_answer(lambda: number_of_listeners(own_redis), lambda number: number == 1)
            async with opened(own_redis, command_s=PATIENT_S):
                assert await until(lambda: store._stand_in.processes == 2) < store._leases.lease_ms / 1000 / 3 / 2

    running(story())


# ---- away -----------------------------------------------------------------------------------------------------------


@pytest.fixture(params=["killed", "frozen"])
def leave_and_return(request, own_redis):
    """How the server goes away and comes back."""
    if request.param == "killed":
        return own_redis.kill, own_redis.start
    return own_redis.freeze, own_redis.thaw


def test_nobody_waits_and_each_process_lets_its_share_through(own_redis, leave_and_return, record_property):
    leave, come_back = leave_and_return
    bounds = [Bound("a", rpm=20, concurrency=7)]

    async def story():
        async with opened(own_redis, lease_s=LEASE_S) as store, opened(own_redis, lease_s=LEASE_S) as other:
            await until(lambda: store._stand_in.processes == other._stand_in.processes == 2)
            leave()
            longest = await longest_until_degraded(store)
            record_property("longest wait while closed", longest)
            assert longest < GENEROUS_S
            inside = [at_once(store.admit(bounds, 0)) for _ in range(20)]
            permits = [each for each in inside if isinstance(each, Permit)]
            assert len(permits) == 3  # 7 // 2
            for permit in permits:
                store.leave(permit, 0)
            answers = [at_once(store.admit([Bound("a", rpm=20)], 0)) for _ in range(20)]
            assert sum(isinstance(each, Permit) for each in answers) == 7  # 20 // 2, less the 3
            assert at_once(store.admit([Bound("b", rpm=1)], 0)).requests_left.limit == 1
            assert at_once(store.get("k")) is None
            at_once(store.put("k", b"v", 60))
            at_once(store.delete("k"))
            store.publish("c", b"lost")
            come_back()
            record_property("back after", await until(lambda: store.state() == "ok"))

    running(story())


def test_what_was_spent_while_it_was_frozen_is_told_later(own_redis):
    async def story():
        async with opened(own_redis, lease_s=LEASE_S) as store:
            await store.open(ACCOUNT, 100, (), 3600)
            held = await held_there(store, 200)
            own_redis.freeze()
            await longest_until_degraded(store)
            alone = at_once(store.reserve([Hold(ACCOUNT, 300)]))
            assert isinstance(alone, Reservation)
            assert at_once(store.reserve([Hold(ACCOUNT, 500)])) == Shortage(ACCOUNT, 100, 900)
            store.settle(held, [150])
            store.settle(alone, [310])
            at_once(store.correct(ACCOUNT.key, "late", 7))
            assert at_once(store.balances([ACCOUNT.key])) == [Balance(560, 0)]
            own_redis.thaw()
            await until_answer(lambda: store.balances([ACCOUNT.key]), lambda found: found == [Balance(567, 0)])
            await asyncio.sleep(LEASE_S)
            assert await store.balances([ACCOUNT.key]) == [Balance(567, 0)]

    running(story())


def test_an_account_that_nobody_knows_is_closed_while_it_is_away(own_redis):
    async def story():
        async with opened(own_redis) as store:
            own_redis.kill()
            await longest_until_degraded(store)
            assert at_once(store.reserve([Hold(EMPTY, 1)])) == Shortage(EMPTY, 0, 1000)
            assert not at_once(store.reserve([Hold(EMPTY, 1)])).is_spent

    running(story())


def test_the_share_of_a_budget_is_what_was_left_by_the_processes(own_redis):
    async def story():
        async with opened(own_redis, lease_s=LEASE_S) as store, opened(own_redis, lease_s=LEASE_S) as other:
            await until(lambda: store._stand_in.processes == other._stand_in.processes == 2)
            await store.open(ACCOUNT, 0, (), 3600)
            store.settle(await held_there(store, 200), [200])
            store.settle(await held_there(other, 200), [200])
            await until_answer(lambda: store.balances([ACCOUNT.key]), lambda found: found == [Balance(400, 0)])
            await until_answer(lambda: other.balances([ACCOUNT.key]), lambda found: found == [Balance(400, 0)])
            own_redis.kill()
            for each in (store, other):
                await longest_until_degraded(each)
                answers = [at_once(each.reserve([Hold(ACCOUNT, 50)])) for _ in range(20)]
                assert sum(isinstance(answer, Reservation) for answer in answers) == 6

    running(story())


def test_a_server_that_comes_back_empty_is_told_nothing_old(own_redis):
    """What was spent meanwhile is in the ledger that the account is opened from."""

    async def story():
        async with opened(own_redis, lease_s=LEASE_S) as store:
            await store.open(ACCOUNT, 100, (), 3600)
            held = await held_there(store, 200)
            own_redis.kill()
            await longest_until_degraded(store)
            store.settle(held, [150])
            own_redis.start()
            await until(lambda: store.state() == "ok")
            await until_answer(lambda: store.reserve([Hold(ACCOUNT, 1)]), lambda found: isinstance(found, Unopened))
            await store.open(ACCOUNT, 250, (), 3600)
            await asyncio.sleep(LEASE_S)
            assert await store.balances([ACCOUNT.key]) == [Balance(250, 0)]

    running(story())


def test_a_server_that_is_emptied_while_it_runs_is_told_nothing_old(own_redis):
    async def story():
        async with opened(own_redis, lease_s=LEASE_S, command_s=PATIENT_S) as store:
            await store.open(ACCOUNT, 100, (), 3600)
            held = await held_there(store, 200)
            with closing(own_redis.client()) as client:
                client.flushall()
                client.script_flush()
            assert await store.reserve([Hold(ACCOUNT, 1)]) == Unopened((ACCOUNT,))
            await store.open(ACCOUNT, 250, (), 3600)
            store.settle(held, [150])
            await store._settling.flushed()
            assert await store.balances([ACCOUNT.key]) == [Balance(250, 0)]

    running(story())


def test_calls_that_are_inside_are_known_to_an_empty_server_again(own_redis):
    async def story():
        async with opened(own_redis, lease_s=LEASE_S, command_s=0.5) as store:
            inside = await store.admit([SLOT], 0)
            assert isinstance(inside, Permit)
            own_redis.kill()
            own_redis.start()
            await until(lambda: store.state() == "ok")
            async with opened(own_redis, command_s=PATIENT_S) as other:
                await asyncio.sleep(LEASE_S)
                assert isinstance(await other.admit([SLOT], 0), Refusal)
                store.leave(inside, 0)
                await until_answer(lambda: other.admit([SLOT], 0), lambda answer: isinstance(answer, Permit))

    running(story())


def test_what_passes_while_it_is_away_and_empty_is_bounded(own_redis, record_property):
    limit, seconds = 1200, 6.0

    def meanwhile():
        time.sleep(1.5)
        own_redis.kill()
        time.sleep(1.5)
        own_redis.start()

    reports = flooded(own_redis, limit, seconds, COMMAND_S, meanwhile)
    passed = sum(report["passed"] for report in reports)
    elapsed_s = max(report["last"] for report in reports) - min(report["first"] for report in reports)
    record_property("admitted / limit", passed / limit)
    record_property("longest of 25 at once", max(report["longest_s"] for report in reports))
    assert limit < passed <= 3 * limit + 2 * limit * elapsed_s / 60
    assert [report["state"] for report in reports] == ["ok"] * 4


async def number_of_listeners(server: RedisServer) -> int:
    with closing(server.client()) as client:
        return client.pubsub_numpat()


async def held_there(store: Store, amount: int) -> Reservation:
    """Set aside by the server itself."""
    while True:
        answer = await store.reserve([Hold(ACCOUNT, amount)])
        if isinstance(answer, Reservation) and not answer.lease.startswith("~"):
            return answer
        if isinstance(answer, Reservation):
            store.settle(answer, [0])
        await asyncio.sleep(0.05)


# ---- a bad line -----------------------------------------------------------------------------------------------------


class Proxy:
    """Between a store and the server. `answers` is what becomes of what the server says."""

    def __init__(self, server: RedisServer) -> None:
        self._server = server
        self.answers: Callable[[bytes], bytes] = bytes
        self.delay_s = 0.0
        self.connections = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        there_reader, there_writer = await asyncio.open_connection("127.0.0.1", self._server.port)
        ways = (self._pass(reader, there_writer, bytes), self._pass(there_reader, writer, self._changed))
        done, rest = await asyncio.wait(map(asyncio.ensure_future, ways), return_when=asyncio.FIRST_COMPLETED)
        for way in (*done, *rest):
            way.cancel()
        for end in (writer, there_writer):
            end.close()

    async def _pass(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, change: Any) -> None:
        with suppress(ConnectionError):
            while data := await source.read(65536):
                if change == self._changed:
                    await asyncio.sleep(self.delay_s)
                sink.write(change(data))

    def _changed(self, data: bytes) -> bytes:
        return self.answers(data)


@asynccontextmanager
async def through_a_proxy(server: RedisServer, **options: float):
    proxy = Proxy(server)
    listening = await asyncio.start_server(proxy.serve, "127.0.0.1", 0)
    port = listening.sockets[0].getsockname()[1]
    store = RedisStore(read_address(f"redis://:{PASSWORD}@127.0.0.1:{port}"), **options)
    try:
        await until(lambda: store.state() == "ok")
        yield proxy, store
    finally:
        await store.close()
        listening.close()


def test_what_was_counted_and_not_confirmed_is_not_counted_again(own_redis):
    """Answers are lost, so that everything is sent again, until they are not."""

    async def story():
        async with through_a_proxy(own_redis, command_s=0.3) as (proxy, store):
            await store.open(ACCOUNT, 0, (), 3600)
            held = [await held_there(store, 20) for _ in range(30)]
            proxy.answers = lambda _: b""
            for reservation in held[:15]:
                store.settle(reservation, [7])
            await until(lambda: store.state() != "ok")
            for reservation in held[15:]:
                store.settle(reservation, [11])
            proxy.answers = bytes
            await until(lambda: store.state() == "ok")
            await until_answer(
                lambda: store.balances([ACCOUNT.key]), lambda found: found == [Balance(15 * 7 + 15 * 11, 0)]
            )

    running(story())


@pytest.mark.parametrize("answers", [lambda _: b"-OOM not now\r\n", lambda data: b"?" + data, lambda _: b"$-9\r\n\r\n"])
def test_nonsense_and_refusals_are_as_if_it_were_away(own_redis, answers):
    async def story():
        async with through_a_proxy(own_redis) as (proxy, store):
            proxy.answers = answers
            for _ in range(3 * FAILURES):
                answer = await store.admit([Bound("a", rpm=1000)], 0)
                assert isinstance(answer, Permit)
                await asyncio.sleep(0.01)
            await until(lambda: store.state().startswith("degraded"))
            proxy.answers = bytes
            await until(lambda: store.state() == "ok")

    running(story())


def test_a_slow_server_is_as_if_it_were_away(own_redis, record_property):
    async def story():
        async with through_a_proxy(own_redis) as (proxy, store):
            proxy.delay_s = 0.3
            longest = await longest_until_degraded(store)
            record_property("longest wait while closed", longest)
            assert longest < GENEROUS_S
            connections = proxy.connections
            for _ in range(1000):
                at_once(store.get("k"))
            assert proxy.connections == connections
            proxy.delay_s = 0
            await until(lambda: store.state() == "ok")

    running(story())


def test_a_call_has_sixty_milliseconds():
    assert COMMAND_S + GRACE_S < 0.060


# ---- addresses ------------------------------------------------------------------------------------------------------


def test_no_message_names_the_password(own_redis, caplog):
    caplog.set_level(logging.DEBUG)
    wrong = own_redis.url.replace(PASSWORD, f"{PASSWORD}-not")

    async def story():
        store = open_store(wrong)
        await until(lambda: store.state().startswith("degraded: Auth"))
        said = [store.state(), repr(store)]
        await store.close()
        return said

    said = running(story())
    assert PASSWORD not in "".join(said) + caplog.text
    assert "the shared store is away (AuthenticationError)" in caplog.text


@pytest.mark.parametrize("url", [
    f"http://:{PASSWORD}@host/0",
    f"redis://host:{PASSWORD}/0",
    f"redis://:{PASSWORD}@host:99999/0",
    f"redis://:{PASSWORD}@[host/0",
    f"redis://:{PASSWORD}@host/0?db={PASSWORD}",
    f"redis://:{PASSWORD}@host/0?{PASSWORD}=1",
    f"redis:///0?password={PASSWORD}",
    f"unix://{PASSWORD}",
    PASSWORD,
    "",
])  # fmt: skip
def test_what_is_no_address_is_refused_and_not_repeated(url):
    with pytest.raises(Misconfigured) as refused:
        open_store(url)
    chain = [refused.value, refused.value.__cause__, refused.value.__context__]
    assert PASSWORD not in "".join(map(str, chain))
    assert refused.value.param == "DUJIANG_REDIS_URL"


def test_without_an_address_it_is_memory():
    assert isinstance(open_store(None), MemoryStore)
