"""Conditional behaviours: which calls fail, how, and that chance repeats itself."""

from dujiang.emulator.behaviour import parse
from dujiang.emulator.conditions import Conditions
from dujiang.emulator.openai import OpenAiDialect

DIALECT = OpenAiDialect()


def decide(conditions, text, model="m", in_flight=1):
    return conditions.decide(model, parse(text, DIALECT.errors), in_flight, DIALECT.usual_errors)


def fates(text, calls, conditions=None, **more):
    conditions = conditions or Conditions()
    return [decide(conditions, text, **more).behaviour.error for _ in range(calls)]


def test_unconditional_is_left_alone():
    assert decide(Conditions(), "status=500;latency=5").behaviour == parse("status=500;latency=5", DIALECT.errors)


def test_a_wait_alone_means_too_many_calls():
    assert fates("retry_after=2", 1) == ["rate_limit_exceeded"]
    assert fates("retry_after=2;status=503", 1) == [None]


def test_fail_first_and_fail_after():
    assert fates("fail_first=2", 4) == ["server_error", "server_error", None, None]
    assert fates("fail_after=2", 4) == [None, None, "server_error", "server_error"]
    assert fates("quota_after=1", 2) == [None, "insufficient_quota"]


def test_the_failure_is_the_one_that_is_written():
    failing = decide(Conditions(), "fail_first=1;cut_after=2;chunks=9").behaviour
    assert failing.fault is not None
    assert failing.fault.name == "cut_after"
    conditions = Conditions()
    assert decide(conditions, "fail_first=1;status=429;retry_after=3").behaviour.status == 429
    passing = decide(conditions, "fail_first=1;status=429;retry_after=3").behaviour
    assert (passing.status, passing.retry_after) == (None, None)


def test_concurrency_counts_calls_in_flight():
    assert decide(Conditions(), "concurrency=2", in_flight=2).behaviour.error is None
    assert decide(Conditions(), "concurrency=2", in_flight=3).behaviour.error == "rate_limit_exceeded"


def test_chance_is_seeded_and_about_right():
    drawn = fates("flaky=0.3", 1000)
    assert drawn == fates("flaky=0.3", 1000)
    assert drawn != fates("flaky=0.3;seed=1", 1000)
    assert drawn != fates("flaky=0.3", 1000, model="other")
    assert 250 < sum(error is not None for error in drawn) < 350
    assert not any(fates("flaky=0", 50))
    assert all(fates("flaky=1", 50))


def test_models_do_not_share_a_past_and_reset_forgets():
    conditions = Conditions()
    assert fates("fail_first=1", 2, conditions) == ["server_error", None]
    assert fates("fail_first=1", 1, conditions, model="other") == ["server_error"]
    conditions.reset_model("m")
    assert fates("fail_first=1", 1, conditions) == ["server_error"]
    assert fates("fail_first=1", 1, conditions, model="other") == [None]
    conditions.reset()
    assert fates("fail_first=1", 1, conditions, model="other") == ["server_error"]


def test_rate_is_a_bucket_that_refills():
    now = 0.0
    conditions = Conditions(clock=lambda: now)
    decisions = [decide(conditions, "rate=2") for _ in range(3)]
    assert [decision.behaviour.error for decision in decisions] == [None, None, "rate_limit_exceeded"]
    assert [decision.allowance.remaining for decision in decisions] == [1, 0, 0]
    assert decisions[2].behaviour.retry_after == "30"
    now = 30.0
    assert fates("rate=2", 2, conditions) == [None, "rate_limit_exceeded"]
