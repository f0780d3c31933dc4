"""A call is let in or refused, and what it holds comes back whatever becomes of it."""

import asyncio
import random

import pytest

from dujiang.core.call import Call, Caller, ClaimedUser, ParsedChat, Rights
from dujiang.core.chat import ChatRequest, Chunk, Message, Usage
from dujiang.core.errors import LimitExceeded, OutputInvalid
from dujiang.core.reply import Reply, WholeReply
from dujiang.identity.counters import Counters
from dujiang.identity.limit_stage import limit
from dujiang.identity.settings import LimitSettings
from dujiang.identity.users import Users
from dujiang.storage.memory import MemoryStore

USED = Usage(input_uncached=30, output_visible=70)


class Clock:
    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


class House:
    """A stage over a store, with limits for every key."""

    def __init__(self, **limits):
        self.clock = Clock()
        self.store = MemoryStore(self.clock)
        self.stage = limit(self.store, Counters({}, {}, LimitSettings(**limits), Users()))

    async def call(self, handler, **asked):
        return await self.stage(handler)(make_call(**asked))

    def inside(self):
        return sum(counter.inside for counter in self.store._counters.values())


def make_call(*, key="k", request_bytes=40, **asked):
    request = ChatRequest(model="m", messages=[Message(role="user", content="hi")], **asked)
    call = Call("id", "chat", lambda body: None, Caller(key, "lab", ("admin",)), 0.0, 60.0, 1)  # pyright: ignore[reportArgumentType]
    call.parsed = ParsedChat(request=request, user=ClaimedUser())
    call.request = request
    call.rights = Rights(frozenset())
    call.request_bytes = request_bytes
    return call


async def answer(call):
    return WholeReply(Chunk(text="ok", finish="stop", usage=USED))


async def finish(reply: Reply) -> None:
    async for _ in reply:
        pass
    reply.close()


def test_a_minute_s_worth_may_pass_at_once_and_then_comes_back_evenly():
    async def run():
        house = House(rpm=6)
        for left in (5, 4, 3, 2, 1, 0):
            call = make_call()
            await finish(await house.stage(answer)(call))
            assert (call.permit.requests_left.limit, call.permit.requests_left.remaining) == (6, left)
        with pytest.raises(LimitExceeded) as refused:
            await house.call(answer)
        error = refused.value
        assert (error.status, error.reason) == (429, "rate")
        assert error.retry_after_s == pytest.approx(10, abs=0.01)
        assert error.details() == {"limit": {"name": "requests", "subject": "key:k", "limit": 6, "remaining": 0}}
        house.clock.now += error.retry_after_s or 0
        await finish(await house.call(answer))
        with pytest.raises(LimitExceeded):
            await house.call(answer)
        await finish(await house.call(answer, key="another"))

    asyncio.run(run())


def test_a_call_holds_its_place_until_its_true_end():
    async def run():
        house = House(concurrency=2)
        one, two = await house.call(answer), await house.call(answer)
        with pytest.raises(LimitExceeded) as refused:
            await house.call(answer)
        assert (refused.value.reason, refused.value.retry_after_s) == ("concurrency", 1.0)
        await finish(one)
        three = await house.call(answer)
        two.close()
        three.close()
        assert house.inside() == 0

    asyncio.run(run())


def test_tokens_are_counted_as_they_were_used():
    async def run():
        house = House(tpm=250)
        for _ in range(2):
            await finish(await house.call(answer))
        call = make_call()
        await finish(await house.stage(answer)(call))  # 10 foreseen of the 50 that were left, 100 used
        assert call.permit.tokens_left.remaining == 40
        with pytest.raises(LimitExceeded) as refused:
            await house.call(answer)
        assert refused.value.reason == "tokens"
        assert refused.value.retry_after_s == pytest.approx((50 + 10) * 60 / 250, abs=0.01)

    asyncio.run(run())


def test_tokens_that_were_foreseen_and_not_used_come_back():
    async def run():
        house = House(tpm=1000)
        await finish(await house.call(answer, max_tokens=900))
        call = make_call(max_tokens=880)
        await finish(await house.stage(answer)(call))
        assert call.permit.tokens_left.remaining == 10

    asyncio.run(run())


def test_a_call_that_is_larger_than_a_minute_s_worth_passes_when_nothing_else_did():
    async def run():
        house = House(tpm=100)
        await finish(await house.call(answer, max_tokens=100_000))

    asyncio.run(run())


def test_a_failed_call_used_what_was_spent_on_it():
    async def fail(call):
        error = OutputInvalid("no")
        error.spent = USED
        raise error

    async def run():
        house = House(tpm=1000, concurrency=1)
        for _ in range(3):
            with pytest.raises(OutputInvalid):
                await house.call(fail)
        call = make_call()
        await finish(await house.stage(answer)(call))
        assert call.permit.tokens_left.remaining == 690

    asyncio.run(run())


def test_ten_thousand_callers_who_leave_at_any_moment_leak_nothing():
    """As the edge does: an answer that was opened is closed, however its caller ends."""

    async def turns(most):
        for _ in range(random.randrange(most)):
            await asyncio.sleep(0)

    async def slow(call):
        await turns(10)
        if random.random() < 0.1:
            raise OutputInvalid("no")
        return WholeReply(Chunk(text="ok", finish="stop", usage=USED))

    async def caller(house, n):
        reply = await house.call(slow, key=f"k{n % 7}")
        try:
            await turns(10)
            await anext(reply)
        finally:
            reply.close()
        return "answered"

    async def one(house, n):
        task = asyncio.create_task(caller(house, n))
        await turns(25)
        task.cancel()
        (end,) = await asyncio.gather(task, return_exceptions=True)
        return end if end == "answered" else type(end).__name__

    async def run():
        house, ends = House(concurrency=100_000), set()
        for start in range(0, 10_000, 1000):
            ends |= {*await asyncio.gather(*(one(house, n) for n in range(start, start + 1000)))}
        assert ends == {"answered", "OutputInvalid", "CancelledError"}
        return house.inside()

    assert asyncio.run(run()) == 0
