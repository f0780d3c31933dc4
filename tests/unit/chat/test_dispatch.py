"""The loop over targets, models and their fallbacks: whom it asks, in which order, and what it leaves behind."""

import asyncio
from time import monotonic

import pytest
from budgeted import budgets_of, fresh_accounts
from targets import SETTINGS, a_model, a_target

from dujiang.chat.dispatch import dispatch
from dujiang.core.call import Call, Caller, ClaimedUser, One, ParsedChat, Plan, Rights
from dujiang.core.chat import ChatRequest, Chunk, Message, Usage
from dujiang.core.errors import (
    BadCredential,
    ContentFiltered,
    Misconfigured,
    NoSuchDeployment,
    OutOfQuota,
    Rejected,
    Saturated,
    StaleConnection,
    Throttled,
    Timeout,
    TooLong,
    Unavailable,
    UpstreamError,
)
from dujiang.core.names import compile_names
from dujiang.core.reply import WholeReply
from dujiang.core.settings import Limits
from dujiang.resilience.settings import (
    BreakerSettings,
    ConcurrencySettings,
    ResilienceSettings,
    RetrySettings,
    TimeoutSettings,
)
from dujiang.resilience.target import Upstream
from dujiang.resilience.vendor_limits import VendorLimits

QUICK = RetrySettings(max_attempts=3, base_delay_s=0, max_delay_s=0)
ANSWER = Chunk("ok", "stop", Usage(input_uncached=1, output_visible=1), "served")


class Vendor:
    """Fails with one thing after another, the last of them for ever; answers when it has nothing to say."""

    def __init__(self, *failures, takes_s=0.0):
        self.failures = list(failures)
        self.takes_s = takes_s
        self.asked = 0

    async def __call__(self, call):
        self.asked += 1
        await asyncio.sleep(self.takes_s)
        if self.failures:
            raise self.failures.pop(0) if len(self.failures) > 1 else self.failures[0]
        return WholeReply(ANSWER)


class House:
    """Models over vendors. All use `settings` but for what is said of one of them."""

    def __init__(self, settings=SETTINGS, /, **models):
        self.settings = settings
        self.targets = {
            name: [a_target(vendor, f"p/{name}{n}", settings=settings) for n, vendor in enumerate(vendors)]
            for name, vendors in models.items()
        }
        self.models = {name: a_model(targets, name, settings) for name, targets in self.targets.items()}
        self.handler = dispatch(self.models, budgets_of(), fresh_accounts(), {}, lambda: 0.5)

    async def open(self, call):
        reply = await self.handler(call)
        try:
            return "".join([chunk.text async for chunk in reply])
        finally:
            reply.close()

    def ask(self, call=None):
        """The answer and the call, or the error and the call; nothing is left behind either way."""
        call = call or a_call()
        try:
            found = asyncio.run(self.open(call))
        except Exception as error:  # noqa: BLE001 - looked at by the test
            found = error
        self.assert_empty()
        return found, call

    def assert_empty(self):
        for model in self.models.values():
            assert (model.gate.inside, model.gate.waiting) == (0, 0)
            assert [target.load.in_flight for target in model.targets] == [0] * len(model.targets)


def a_call(model="m", *, deadline_s=5.0, models=(), priority="normal", app="a"):
    now = monotonic()
    request = ChatRequest(model, [Message("user", "hi")])
    call = Call("id", "chat", lambda body: call.parsed, Caller("k", app, ()), now, now + deadline_s, 1)
    call.request = request
    call.parsed = ParsedChat(request, ClaimedUser(), priority=priority)
    call.rights = Rights(frozenset(), models)
    call.plan = Plan((One(model),), model, "named")
    return call


def trail(call):
    return [(attempt.why, attempt.target, attempt.error) for attempt in call.attempts]


def resilience(**parts):
    return ResilienceSettings(**{"retry": QUICK, **parts})


@pytest.mark.parametrize("error", [UpstreamError, Unavailable, Timeout, Throttled, OutOfQuota, BadCredential])
def test_another_target_is_asked_and_never_the_failed_one_while_one_is_untried(error):
    house = House(resilience(), m=[Vendor(error("x")), Vendor(error("x")), Vendor()])
    found, call = house.ask()
    assert found == "ok"
    assert len({attempt.target for attempt in call.attempts}) == len(call.attempts)
    assert {attempt.why for attempt in call.attempts[1:]} <= {"retry"}


def test_the_same_target_is_asked_again_where_there_is_no_other():
    house = House(resilience(), m=[Vendor(Unavailable("x"), Unavailable("x"), Unavailable("y"))])
    found, call = house.ask()
    assert str(found) == "y"
    assert [why for why, _, _ in trail(call)] == ["first", "retry", "retry"]


@pytest.mark.parametrize("error", [OutOfQuota, BadCredential, NoSuchDeployment, Rejected, TooLong, ContentFiltered])
def test_what_would_fail_again_is_not_asked_again(error):
    vendor = Vendor(error("x"))
    found, call = House(resilience(), m=[vendor]).ask()
    assert isinstance(found, error)
    assert (vendor.asked, len(call.attempts)) == (1, 1)


def test_a_refused_credential_is_left_alone_by_later_calls():
    refused, other = Vendor(BadCredential("x")), Vendor()
    house = House(resilience(), m=[refused, other])
    for _ in range(6):
        assert house.ask()[0] == "ok"
    assert refused.asked == 1


def test_a_stale_connection_is_resent_at_once_beyond_the_attempts():
    vendor = Vendor(StaleConnection("x"), Unavailable("x"))
    _, call = House(ResilienceSettings(retry=RetrySettings(max_attempts=1)), m=[vendor]).ask()
    assert [why for why, _, _ in trail(call)] == ["first", "stale_connection"]


def test_a_stale_connection_is_resent_to_the_same_target():
    house = House(resilience(), m=[Vendor(StaleConnection("x"), Unavailable("x")), Vendor()])
    found, call = house.ask()
    if found == "ok" and len(call.attempts) == 1:
        found, call = house.ask()  # the other one's turn came first
    assert [(why, target) for why, target, _ in trail(call)] == [
        ("first", "p/m0"),
        ("stale_connection", "p/m0"),
        ("retry", "p/m1"),
    ]


def test_what_is_thrown_for_us_says_who_chose():
    _, call = House(resilience(), m=[Vendor(), Vendor()]).ask()
    assert [(attempt.why, attempt.chosen_by) for attempt in call.attempts] == [("first", "least_loaded")]
    _, call = House(resilience(), m=[Vendor()]).ask()
    assert [attempt.chosen_by for attempt in call.attempts] == ["only"]


def test_no_retry_begins_after_the_deadline():
    retry = RetrySettings(max_attempts=3, base_delay_s=1, max_delay_s=1)
    house = House(resilience(retry=retry), m=[Vendor(Unavailable("x"))])
    found, call = house.ask(a_call(deadline_s=0.2))
    assert isinstance(found, Unavailable)
    assert len(call.attempts) == 1
    assert monotonic() < call.deadline


def test_a_models_own_total_is_the_deadline_of_its_calls():
    """However long other models may take: it bounds waits and retries, too."""
    house = House(resilience(timeouts=TimeoutSettings(total_s=0.5)), m=[Vendor()])
    found, call = house.ask(a_call(deadline_s=300.0))
    assert found == "ok"
    assert call.deadline - call.started == pytest.approx(0.5)


def test_a_backoff_is_waiting_and_no_work():
    retry = RetrySettings(max_attempts=2, base_delay_s=0.1, max_delay_s=1)
    vendor = Vendor(Unavailable("x"), Unavailable("y"))
    _, call = House(resilience(retry=retry), m=[vendor]).ask()
    assert call.waited_s == pytest.approx(0.05)
    assert [attempt.waited_s for attempt in call.attempts] == [0.0, pytest.approx(0.05)]


def test_retries_are_paid_for():
    settings = ResilienceSettings(
        retry=RetrySettings(max_attempts=2, base_delay_s=0, max_delay_s=0, budget_ratio=0),
        breaker=BreakerSettings(window=1000, min_calls=1000),
    )
    vendor = Vendor(Unavailable("x"))
    house = House(settings, m=[vendor])
    for _ in range(20):
        house.ask()
    assert vendor.asked <= 20 + 4  # the floor of a moment


# ---- fallbacks ------------------------------------------------------------------------------------------------------

KINDS = [
    ("fallbacks", Unavailable),
    ("fallbacks", Throttled),
    ("fallbacks_too_long", TooLong),
    ("fallbacks_filtered", ContentFiltered),
]


@pytest.mark.parametrize(("list_", "error"), KINDS)
def test_each_failure_has_its_own_fallbacks(list_, error):
    lists = {name: {"m": ("other",)} for name in ("fallbacks", "fallbacks_too_long", "fallbacks_filtered")}
    lists[list_] = {"m": ("right",)}
    settings = resilience(retry=RetrySettings(max_attempts=1), **lists)
    other = Vendor()
    found, call = House(settings, m=[Vendor(error("x"))], right=[Vendor()], other=[other]).ask()
    assert found == "ok"
    assert (call.model, other.asked) == ("right", 0)
    assert [why for why, _, _ in trail(call)] == ["first", "fallback"]


@pytest.mark.parametrize(("list_", "error"), KINDS)
def test_without_a_fallback_the_failure_stands(list_, error):
    settings = resilience(retry=RetrySettings(max_attempts=1), **{list_: {"other": ("m",)}})
    found, _ = House(settings, m=[Vendor(error("x"))], other=[Vendor()]).ask()
    assert isinstance(found, error)


def test_fallbacks_are_asked_in_order_and_the_last_failure_is_told():
    settings = resilience(retry=RetrySettings(max_attempts=1), fallbacks={"m": ("one", "two")})
    house = House(settings, m=[Vendor(Unavailable("a"))], one=[Vendor(Timeout("b"))], two=[Vendor(Throttled("c"))])
    found, call = house.ask()
    assert str(found) == "c"
    assert [target for _, target, _ in trail(call)] == ["p/m0", "p/one0", "p/two0"]


def test_a_fallback_that_the_caller_may_not_use_is_passed_over():
    settings = resilience(retry=RetrySettings(max_attempts=1), fallbacks={"m": ("secret", "open")})
    secret = Vendor()
    house = House(settings, m=[Vendor(Unavailable("a"))], secret=[secret], open=[Vendor()])
    found, call = house.ask(a_call(models=(compile_names(("m", "open")),)))
    assert (found, call.model, secret.asked) == ("ok", "open", 0)


def test_a_refusal_of_the_request_ends_the_search():
    settings = resilience(retry=RetrySettings(max_attempts=1), fallbacks={"m": ("one", "two")})
    two = Vendor()
    house = House(settings, m=[Vendor(Unavailable("a"))], one=[Vendor(Rejected("bad"))], two=[two])
    found, _ = house.ask()
    assert (str(found), two.asked) == ("bad", 0)


def test_a_model_without_targets_says_what_is_missing():
    found, call = House(resilience(fallbacks={"m": ("other",)}), m=[], other=[Vendor()]).ask()
    assert isinstance(found, Misconfigured)
    assert call.attempts == []


# ---- a pool that is ill ---------------------------------------------------------------------------------------------


def test_all_down_is_refused_at_once_and_says_when_to_come_back():
    breaker = BreakerSettings(window=5, min_calls=5, open_s=60)
    vendors = [Vendor(Unavailable("x")), Vendor(Unavailable("x"))]
    house = House(ResilienceSettings(retry=RetrySettings(max_attempts=1), breaker=breaker), m=vendors)
    for _ in range(12):
        house.ask()
    asked = sum(vendor.asked for vendor in vendors)
    for _ in range(50):
        found, call = house.ask()
        assert isinstance(found, Unavailable)
        assert (found.reason, call.attempts, call.waited_s) == ("no_target", [], 0.0)
        assert found.retry_after_s is not None
        assert 1.0 <= found.retry_after_s <= 60
    assert sum(vendor.asked for vendor in vendors) == asked


def test_a_call_waits_for_a_cool_down_that_ends_in_time_and_no_other_call_overtakes_it():
    vendor = Vendor(Throttled("x", retry_after_s=0.15))
    house = House(ResilienceSettings(retry=RetrySettings(max_attempts=1)), m=[vendor])
    house.ask()
    vendor.failures = []

    async def both():
        first, second = a_call(), a_call()
        answers = await asyncio.gather(house.open(first), house.open(second))
        return answers, first, second

    answers, first, second = asyncio.run(both())
    assert answers == ["ok", "ok"]
    assert min(first.waited_s, second.waited_s) >= 0.1
    assert vendor.asked == 3
    house.assert_empty()


@pytest.mark.parametrize(
    ("max_wait_s", "deadline_s"), [(0.1, 5.0), (5.0, 0.1)], ids=["longer than calls may wait", "after the deadline"]
)
def test_a_call_does_not_wait_for_a_cool_down_that_ends_too_late(max_wait_s, deadline_s):
    settings = ResilienceSettings(
        retry=RetrySettings(max_attempts=1), concurrency=ConcurrencySettings(max_wait_s=max_wait_s)
    )
    house = House(settings, m=[Vendor(Throttled("x", retry_after_s=2.0))])
    house.ask()
    found, call = house.ask(a_call(deadline_s=deadline_s))
    assert isinstance(found, Unavailable)
    assert found.retry_after_s == pytest.approx(2.0, abs=0.2)
    assert call.waited_s == 0.0


def test_a_vendors_rate_is_kept_before_the_vendor_refuses():
    vendor = Vendor()
    house = House(resilience(), m=[vendor])
    house.targets["m"][0].limits = VendorLimits(Limits(rpm=3), 1, monotonic)
    assert [house.ask()[0] for _ in range(3)] == ["ok"] * 3
    found, call = house.ask()
    assert isinstance(found, Unavailable)
    assert found.retry_after_s == pytest.approx(60, abs=5)
    assert (vendor.asked, call.attempts) == (3, [])


def test_all_waits_of_a_call_together_are_bounded():
    """A target that is busy elsewhere is looked at again and again, but not for ever."""
    house = House(crowded(max_wait_s=0.1), m=[Vendor()])
    upstream = Upstream(places=1)
    upstream.in_flight = 1
    house.targets["m"][0].upstream = upstream
    found, call = house.ask()
    assert isinstance(found, Unavailable)
    assert 0.05 < call.waited_s <= 0.1


def test_what_an_operator_drained_is_not_asked():
    drained, other = Vendor(), Vendor()
    house = House(resilience(), m=[drained, other])
    house.targets["m"][0].load.breaker.drain("moving")
    for _ in range(4):
        assert house.ask()[0] == "ok"
    assert (drained.asked, other.asked) == (0, 4)
    house.targets["m"][1].load.breaker.drain("moving")
    found, _ = house.ask()
    assert isinstance(found, Unavailable)
    assert found.retry_after_s is None


@pytest.mark.parametrize("is_out_of_time", [True, False])
def test_a_caller_who_gives_no_time_does_not_make_a_target_ill(is_out_of_time):
    settings = ResilienceSettings(
        retry=RetrySettings(max_attempts=1), timeouts=TimeoutSettings(total_s=60), breaker=BreakerSettings(min_calls=5)
    )
    vendor = Vendor(Timeout("x"), takes_s=0.02)
    house = House(settings, m=[vendor])
    for _ in range(10):
        house.ask(a_call(deadline_s=0.01 if is_out_of_time else 5.0))
    assert (house.targets["m"][0].load.breaker.state == "closed") is is_out_of_time


# ---- places ---------------------------------------------------------------------------------------------------------


def crowded(queue=10, max_wait_s=5.0, limit=1, **more):
    return ResilienceSettings(
        retry=RetrySettings(max_attempts=1),
        concurrency=ConcurrencySettings(limit=limit, adaptive=False, queue=queue, max_wait_s=max_wait_s),
        **more,
    )


class Counted(Vendor):
    """Notes how many it served at once."""

    inside = most = 0

    async def __call__(self, call):
        self.inside += 1
        self.most = max(self.most, self.inside)
        try:
            return await super().__call__(call)
        finally:
            self.inside -= 1


def together(house, calls):
    async def all_of_them():
        return await asyncio.gather(*(house.open(call) for call in calls), return_exceptions=True)

    found = asyncio.run(all_of_them())
    house.assert_empty()
    return found


def test_a_target_never_has_more_than_its_places_and_nobody_is_forgotten():
    vendor = Counted(takes_s=0.001)
    calls = [a_call() for _ in range(40)]
    assert together(House(crowded(queue=100, limit=4), m=[vendor]), calls) == ["ok"] * 40
    assert vendor.most == 4
    assert sum(call.waited_s > 0 for call in calls) == 36
    assert all(call.attempts[0].waited_s == call.waited_s for call in calls)


def test_who_finds_no_place_in_the_queue_is_refused_or_falls_back():
    house = House(crowded(queue=0), m=[Vendor(takes_s=0.05)])
    found = together(house, [a_call(), a_call()])
    assert found[0] == "ok"
    assert isinstance(found[1], Saturated)
    assert (found[1].status, found[1].reason) == (429, "queue")
    house = House(crowded(queue=0, fallbacks={"m": ("other",)}), m=[Vendor(takes_s=0.05)], other=[Vendor()])
    assert together(house, [a_call(), a_call()]) == ["ok", "ok"]


def test_the_more_urgent_go_first():
    vendor = Vendor(takes_s=0.005)
    calls = [a_call(), *(a_call(priority="low") for _ in range(3)), *(a_call(priority="high") for _ in range(3))]
    together(House(crowded(), m=[vendor]), calls)
    assert max(call.waited_s for call in calls[4:6]) < min(call.waited_s for call in calls[2:4])


def test_calls_that_hang_at_an_ill_target_take_no_places_from_the_others():
    breaker = BreakerSettings(window=10, min_calls=1)
    stuck, other = Vendor(takes_s=0.3), Counted(takes_s=0.001)
    house = House(crowded(limit=3, breaker=breaker), m=[stuck, other])
    ill = house.targets["m"][0]

    async def run():
        held = [asyncio.create_task(house.open(a_call())) for _ in range(6)]
        await asyncio.sleep(0.05)
        assert ill.load.in_flight == 3
        ill.load.breaker.eject("hangs")
        rest = await asyncio.gather(*(house.open(a_call()) for _ in range(9)))
        await asyncio.gather(*held)
        return rest

    assert asyncio.run(run()) == ["ok"] * 9
    assert other.most == 3
    house.assert_empty()


def test_a_reload_keeps_those_who_wait_and_counts_those_inside():
    vendor = Counted(takes_s=0.05)
    house = House(crowded(), m=[vendor])
    before = house.models["m"]
    after = a_model(house.targets["m"], "m", crowded(limit=1), gate=before.gate)

    async def run():
        old = [asyncio.create_task(house.open(a_call())) for _ in range(2)]
        await asyncio.sleep(0.01)
        after.begin()
        house.models["m"] = after
        new = [asyncio.create_task(house.open(a_call())) for _ in range(2)]
        return await asyncio.gather(*old, *new)

    assert asyncio.run(run()) == ["ok"] * 4
    assert vendor.most == 1
    house.assert_empty()


def test_a_caller_who_leaves_while_waiting_leaves_nothing():
    house = House(crowded(), m=[Vendor(takes_s=0.1)])

    async def run():
        first = asyncio.create_task(house.open(a_call()))
        await asyncio.sleep(0.01)
        waiting = asyncio.create_task(house.open(a_call()))
        await asyncio.sleep(0.01)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        return await first

    assert asyncio.run(run()) == "ok"
    house.assert_empty()
