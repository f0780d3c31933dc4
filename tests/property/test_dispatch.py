"""Whatever vendors do and callers want, the loop ends each call once, in time, and leaves nothing behind."""

import asyncio
from time import monotonic

from budgeted import budgets_of, fresh_accounts
from hypothesis import given, settings
from hypothesis import strategies as st
from targets import a_model, a_target

from dujiang.chat.dispatch import dispatch
from dujiang.core.call import Call, Caller, ClaimedUser, One, ParsedChat, Plan, Rights
from dujiang.core.chat import ChatRequest, Chunk, Message, Usage
from dujiang.core.errors import (
    AppError,
    BadCredential,
    NoSuchDeployment,
    OutOfQuota,
    Rejected,
    StaleConnection,
    StreamBroken,
    Throttled,
    Timeout,
    Unavailable,
)
from dujiang.core.reply import WholeReply
from dujiang.resilience.settings import BreakerSettings, ConcurrencySettings, ResilienceSettings, RetrySettings
from dujiang.resilience.verdict import verdict

FAILURES = [BadCredential, NoSuchDeployment, OutOfQuota, Rejected, StaleConnection, Throttled, Timeout, Unavailable]
DEADLINE_S = 0.25
MARGIN_S = 1.0

outcomes = st.sampled_from([None, None, None, "broken", *FAILURES])
vendors = st.lists(st.lists(outcomes, min_size=1, max_size=8), min_size=1, max_size=4)


class BrokenReply(WholeReply):
    async def __anext__(self):
        self.error = StreamBroken("broke")
        raise self.error


class Vendor:
    """Does one thing after another, again and again."""

    def __init__(self, script, limit):
        self.script = script
        self.limit = limit
        self.asked = self.inside = 0

    async def __call__(self, call):
        outcome = self.script[self.asked % len(self.script)]
        self.asked += 1
        self.inside += 1
        try:
            assert self.inside <= self.limit
            await asyncio.sleep(0.001 * (self.asked % 3))
        finally:
            self.inside -= 1
        if outcome == "broken":
            return BrokenReply(Chunk("x"))
        if outcome is not None:
            raise outcome("failed")
        return WholeReply(Chunk("ok", "stop", Usage(1, 0, 0, 1, 0), "served"))


def a_call(n, *, is_streamed):
    now = monotonic()
    request = ChatRequest("m", [Message("user", "hi")], stream=is_streamed)
    call = Call(str(n), "chat", lambda body: call.parsed, Caller("k", f"app{n % 3}", ()), now, now + DEADLINE_S, 1)
    call.request = request
    call.parsed = ParsedChat(request, ClaimedUser(), priority=("high", "normal", "low")[n % 3])
    call.rights = Rights(frozenset())
    call.plan = Plan((One("m"),), "m", "named")
    return call


async def converse(handler, call):
    reply = await handler(call)
    try:
        async for _ in reply:
            pass
    finally:
        reply.close()


@settings(max_examples=60, deadline=None)
@given(
    scripts=vendors,
    calls=st.integers(1, 25),
    limit=st.integers(1, 4),
    queue=st.integers(0, 20),
    attempts=st.integers(1, 4),
    leavers=st.sets(st.integers(0, 24)),
    is_streamed=st.booleans(),
)
def test_every_call_ends_once_and_leaves_nothing(scripts, calls, limit, queue, attempts, leavers, is_streamed):
    chosen = ResilienceSettings(
        retry=RetrySettings(max_attempts=attempts, base_delay_s=0.001, max_delay_s=0.01),
        breaker=BreakerSettings(window=5, min_calls=3, open_s=0.02, max_open_s=0.1),
        concurrency=ConcurrencySettings(limit=limit, adaptive=False, queue=queue, max_wait_s=0.1),
    )
    asked = [Vendor(script, limit) for script in scripts]
    targets = [a_target(vendor, f"p/{n}", settings=chosen) for n, vendor in enumerate(asked)]
    model = a_model(targets, "m", chosen)
    handler = dispatch({"m": model}, budgets_of(), fresh_accounts(), {"app1": 3.0})
    made = [a_call(n, is_streamed=is_streamed) for n in range(calls)]

    async def run():
        tasks = [asyncio.create_task(converse(handler, call)) for call in made]
        await asyncio.sleep(0.002)
        for n in leavers & set(range(calls)):
            tasks[n].cancel()
        return await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), DEADLINE_S + MARGIN_S)

    for found in asyncio.run(run()):
        assert found is None or isinstance(found, AppError | asyncio.CancelledError)
    assert (model.gate.inside, model.gate.waiting) == (0, 0)
    assert [target.load.in_flight for target in targets] == [0] * len(targets)
    assert [target.upstream.in_flight for target in targets] == [0] * len(targets)
    for call in made:
        assert len(call.attempts) <= attempts + 1  # and one resend of what met a stale connection
        _assert_order(call, attempts)


def _assert_order(call, attempts):
    """No target twice in a row after a failure that is not mended by asking again."""
    for before, after in zip(call.attempts, call.attempts[1:], strict=False):
        kind = next((each for each in FAILURES if each.code == before.error and each is not StaleConnection), None)
        if kind is not None and not verdict(kind("x")).same:
            assert after.target != before.target
