"""What each strategy of balancing looks at."""

import random
from collections import Counter

import msgspec
import pytest
from balanced import Clock, Target, priced

from dujiang.core.call import Caller, ClaimedUser
from dujiang.resilience.balancer import Balancers, compile_balancers
from dujiang.resilience.settings import BalancingSettings
from dujiang.resilience.sticky import sticky_key

STRATEGIES = ("least_loaded", "weighted", "latency", "cost", "sticky")


def compiled(strategy: str, targets: list[Target], clock: Clock | None = None, seed: int = 7) -> Balancers[Target]:
    settings = msgspec.convert({"strategy": strategy}, BalancingSettings)
    return compile_balancers(settings, targets, clock or Clock(), random.Random(seed).random)


def test_every_strategy_that_a_document_may_name_is_built() -> None:
    assert msgspec.json.schema(BalancingSettings)["$defs"]["BalancingSettings"]["properties"]["strategy"]["enum"] == (
        sorted(STRATEGIES)
    )


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_nothing_to_choose_from_is_an_error(strategy: str) -> None:
    balancers = compiled(strategy, [Target("a")])
    for balancer in balancers:
        with pytest.raises(IndexError):
            balancer.choose([], "key")


# ---- least loaded ------------------------------------------------------------------------------------------------


def test_few_targets_are_all_compared() -> None:
    targets = [Target("a", in_flight=5), Target("b", in_flight=4), Target("c", in_flight=3)]
    assert compiled("least_loaded", targets).streamed.choose(targets) is targets[2]


def test_load_is_counted_by_weight() -> None:
    targets = [Target("heavy", 4, in_flight=3), Target("light", 1, in_flight=1)]
    assert compiled("least_loaded", targets).streamed.choose(targets).name == "heavy"


def test_of_many_targets_the_better_of_two_is_chosen() -> None:
    targets = [Target(str(n)) for n in range(8)]
    targets[0].load.in_flight = 100
    balancer = compiled("least_loaded", targets).streamed
    assert Counter(balancer.choose(targets).name for _ in range(2000))["0"] == 0


def test_of_many_the_other_choice_is_drawn_among_all() -> None:
    """Only one is idle: it gets the calls of its own turns, and of each draw that finds it."""
    targets = [Target(str(n), in_flight=9) for n in range(8)]
    targets[5].load.in_flight = 0
    balancer = compiled("least_loaded", targets).streamed
    served = Counter(balancer.choose(targets).name for _ in range(8000))
    assert pytest.approx(served["5"], rel=0.1) == 8000 * (1 / 8 + 7 / 8 / 7)


def test_of_many_the_other_choice_is_drawn_by_weight() -> None:
    targets = [Target(str(n), in_flight=1000) for n in range(8)]
    targets[5].weight = 7.0
    targets[5].load.in_flight = 0
    balancer = compiled("least_loaded", targets).streamed
    served = Counter(balancer.choose(targets).name for _ in range(8000))
    assert pytest.approx(served["5"], rel=0.05) == 8000 * (7 / 14 + 7 / 14 * 7 / 13)


def test_many_idle_targets_are_asked_exactly_by_weight() -> None:
    targets = [Target(str(n), weight) for n, weight in enumerate((5, 3, 1, 1, 2))]
    balancer = compiled("least_loaded", targets).streamed
    served = Counter(balancer.choose(targets).name for _ in range(120))
    assert served == {"0": 50, "1": 30, "2": 10, "3": 10, "4": 20}


# ---- weighted ----------------------------------------------------------------------------------------------------


def test_weighted_spreads_turns_whatever_the_load() -> None:
    targets = [Target("a", 5, in_flight=99), Target("b"), Target("c")]
    balancer = compiled("weighted", targets).streamed
    assert "".join(balancer.choose(targets).name for _ in range(7)) == "aabacaa"


# ---- latency -----------------------------------------------------------------------------------------------------


def test_the_faster_is_asked_until_its_calls_outweigh_it() -> None:
    clock = Clock()
    fast, slow = targets = [Target("fast"), Target("slow")]
    fast.load.first_token.observe(0.2, clock.now)
    slow.load.first_token.observe(0.5, clock.now)
    balancer = compiled("latency", targets, clock).streamed
    chosen = []
    for _ in range(4):
        target = balancer.choose(targets)
        target.load.in_flight += 1
        chosen.append(target.name)
    assert chosen == ["fast", "fast", "slow", "fast"]


def test_whole_answers_have_their_own_series() -> None:
    clock = Clock()
    quick_start, quick_tokens = targets = [Target("quick start"), Target("quick tokens")]
    for target, first_s, token_s in ((quick_start, 0.1, 0.05), (quick_tokens, 0.9, 0.01)):
        target.load.first_token.observe(first_s, clock.now)
        target.load.per_token.observe(token_s, clock.now)
    balancers = compiled("latency", targets, clock)
    assert balancers.streamed.choose(targets) is quick_start
    assert balancers.whole.choose(targets) is quick_tokens


def test_the_unmeasured_is_tried_once_and_then_waited_for() -> None:
    clock = Clock()
    known, unknown = targets = [Target("known", in_flight=50), Target("unknown")]
    known.load.first_token.observe(3.0, clock.now)
    balancer = compiled("latency", targets, clock).streamed
    assert balancer.choose(targets) is unknown
    unknown.load.in_flight = 1
    assert balancer.choose(targets) is known


def test_where_nobody_was_measured_the_least_loaded_is_asked() -> None:
    targets = [Target("a", in_flight=3), Target("b", in_flight=1), Target("c", in_flight=2)]
    assert compiled("latency", targets).streamed.choose(targets).name == "b"


def test_the_avoided_is_tried_again_once_its_past_has_faded() -> None:
    clock = Clock()
    good, bad = targets = [Target("good"), Target("bad")]
    bad.load.first_token.observe(20.0, clock.now)
    balancer = compiled("latency", targets, clock).streamed
    for _ in range(300):
        good.load.first_token.observe(0.5, clock.now)
        if balancer.choose(targets) is bad:
            break
        clock.now += 0.5
    assert 1030 < clock.now < 1045  # 20 s fade to 0.5 s in 10 s * ln 40


def test_what_is_known_of_a_target_does_not_fade_while_calls_wait_there() -> None:
    clock = Clock()
    waiting, other = targets = [Target("waiting", in_flight=1), Target("other", in_flight=1)]
    waiting.load.first_token.observe(8.0, clock.now)
    clock.now += 60
    other.load.first_token.observe(4.0, clock.now)
    balancer = compiled("latency", targets, clock).streamed
    assert balancer.choose(targets) is other
    waiting.load.in_flight = 0
    assert balancer.choose(targets) is waiting


def test_of_many_the_faster_of_two_is_asked() -> None:
    clock = Clock()
    targets = [Target(str(n)) for n in range(8)]
    for n, target in enumerate(targets):
        target.load.first_token.observe(1.0 + n, clock.now)
    balancer = compiled("latency", targets, clock).streamed
    served = Counter(balancer.choose(targets).name for _ in range(4000))
    assert served["7"] == 0
    assert served["0"] > served["3"] > served["6"] > 0


# ---- cost --------------------------------------------------------------------------------------------------------


def test_the_cheapest_known_price_wins_and_the_unpriced_come_last() -> None:
    targets = [Target("unpriced"), Target("dear", price=priced(9)), Target("cheap", in_flight=50, price=priced(3))]
    balancer = compiled("cost", targets).streamed
    assert balancer.choose(targets).name == "cheap"
    assert balancer.choose(targets[:2]).name == "dear"
    assert balancer.choose(targets[:1]).name == "unpriced"


def test_a_price_of_nothing_is_a_known_price() -> None:
    targets = [Target("cheap", price=priced(1)), Target("free", price=priced(0))]
    assert compiled("cost", targets).streamed.choose(targets).name == "free"


def test_prices_are_compared_in_the_currency_of_account() -> None:
    targets = [Target("dollars", price=priced(1, "USD", "7.2")), Target("yuan", price=priced(7))]
    assert compiled("cost", targets).streamed.choose(targets).name == "yuan"


def test_among_equal_prices_the_load_by_weight_decides() -> None:
    targets = [Target("a", 1, 2, priced(3)), Target("b", 4, 4, priced(3)), Target("c", 1, 0, priced(4))]
    assert compiled("cost", targets).streamed.choose(targets).name == "b"


# ---- sticky ------------------------------------------------------------------------------------------------------


def test_a_key_is_known_in_every_process() -> None:
    """Fixed answers: neither Python's hash of strings nor the order of the targets takes part."""
    targets = [Target("a"), Target("b"), Target("c")]
    chosen = "".join(compiled("sticky", targets).streamed.choose(targets, f"user-{n}").name for n in range(12))
    turned = targets[::-1]
    assert chosen == "".join(compiled("sticky", turned).streamed.choose(turned, f"user-{n}").name for n in range(12))
    assert chosen == "bacababaccac"


def test_a_call_without_a_key_goes_to_the_least_loaded() -> None:
    targets = [Target("a", in_flight=1), Target("b", in_flight=2), Target("c")]
    balancer = compiled("sticky", targets).streamed
    assert balancer.choose(targets, None).name == "c"
    assert balancer.choose(targets, "").name == "b"


def test_calls_stick_by_conversation_then_user_then_key() -> None:
    caller = Caller("key-1", "shop", ("user",))
    other = Caller("key-2", "bank", ("user",))
    both = ClaimedUser("ann", None, "talk-1")
    assert sticky_key(both, caller) == sticky_key(ClaimedUser("bob", None, "talk-1"), caller)
    assert sticky_key(ClaimedUser("ann"), caller) != sticky_key(both, caller)
    assert sticky_key(ClaimedUser("ann"), caller) != sticky_key(ClaimedUser("ann"), other)
    assert sticky_key(ClaimedUser(), caller) == "key-1"


# ---- slow start --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("elapsed_s", "ratio"), [(-1, 0.1), (0, 0.1), (10, 0.4), (20, 0.7), (30, 1.0), (99, 1.0)])
def test_a_restored_target_gets_its_weight_by_and_by(elapsed_s: float, ratio: float) -> None:
    clock = Clock()
    targets = [Target("back"), Target("stayed")]
    targets[0].load.restored_at = clock.now
    clock.now += elapsed_s
    balancer = compiled("weighted", targets, clock).streamed
    served = Counter(balancer.choose(targets).name for _ in range(1700))
    assert served["back"] == pytest.approx(1700 * ratio / (1 + ratio), abs=2)
    assert (targets[0].load.restored_at is None) == (elapsed_s >= 30)


@pytest.mark.parametrize("strategy", ["least_loaded", "latency", "cost", "sticky"])
def test_every_strategy_starts_slowly(strategy: str) -> None:
    """Calls pile up, each a minute long: what has just come back gets fewer of them than what stayed."""
    clock = Clock()
    back, _ = targets = [Target("back", price=priced(1)), Target("stayed", price=priced(1))]
    for target in targets:
        target.load.first_token.observe(1.0, clock.now)
    back.load.restored_at = clock.now
    balancer = compiled(strategy, targets, clock).streamed
    for n in range(300):
        balancer.choose(targets, f"user-{n}").load.in_flight += 1
    assert 15 <= back.load.in_flight <= 45
    clock.now += 31
    for n in range(300):
        balancer.choose(targets, f"user-{n}").load.in_flight += 1
    assert back.load.in_flight > 150


def test_of_many_the_restored_is_drawn_seldom() -> None:
    clock = Clock()
    targets = [Target(str(n), in_flight=1000) for n in range(8)]
    targets[5].load.in_flight = 0
    targets[5].load.restored_at = clock.now
    balancer = compiled("least_loaded", targets, clock).streamed
    served = Counter(balancer.choose(targets).name for _ in range(8000))
    assert served["5"] == pytest.approx(8000 * (0.1 / 7.1 + 7 / 7.1 * 0.1 / 6.1), rel=0.2)
