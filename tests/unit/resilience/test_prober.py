"""Free probes: who is asked, and what an answer changes."""

import asyncio

import pytest
from balanced import Clock
from targets import a_target

from dujiang.core.errors import BadCredential, OutOfQuota, Unavailable
from dujiang.resilience.prober import Prober
from dujiang.resilience.settings import BreakerSettings, ResilienceSettings
from dujiang.resilience.target import Place

SETTINGS = ResilienceSettings(breaker=BreakerSettings(window=2, min_calls=1, open_s=60))


class Service:
    """Answers probes or does not."""

    def __init__(self, error=None):
        self.error = error
        self.asked = 0

    async def __call__(self, timeout_s):
        self.asked += 1
        if self.error is not None:
            raise self.error


@pytest.fixture
def clock():
    return Clock()


def a_probed(service, clock, *, place=Place("p", "p/m", "main"), parkings=None):
    target = a_target(None, place, settings=SETTINGS, clock=clock, parkings=parkings)
    target.probe = service
    return target


def fail(target, error):
    entry = target.enter(1)
    target.failed(entry, error)
    target.leave(entry, 0, None, 0.0)


def look(prober):
    return asyncio.run(prober.look())


def test_what_is_well_is_never_asked(clock):
    service = Service()
    assert look(Prober(lambda: [a_probed(service, clock)])) == []
    assert service.asked == 0


def test_an_open_target_is_tried_at_once_when_its_service_answers_again(clock):
    service = Service(Unavailable("x"))
    target = a_probed(service, clock)
    fail(target, Unavailable("x"))
    prober = Prober(lambda: [target])
    assert look(prober) == []
    assert not target.load.breaker.allows()
    service.error = None
    assert look(prober) == [target]
    assert target.load.breaker.state == "open"
    assert target.load.breaker.allows()


def test_a_service_that_answers_while_its_calls_fail_is_no_news(clock):
    target = a_probed(Service(), clock)
    fail(target, Unavailable("x"))
    prober = Prober(lambda: [target])
    assert [look(prober) for _ in range(5)] == [[]] * 5
    assert not target.load.breaker.allows()


def test_a_credential_that_is_let_in_again_is_used_again(clock):
    service = Service(BadCredential("x"))
    parkings = {}
    targets = [a_probed(service, clock, place=Place("p", f"p/{n}", "main"), parkings=parkings) for n in range(3)]
    fail(targets[0], BadCredential("x"))
    prober = Prober(lambda: targets)
    look(prober)
    assert service.asked == 1  # one question for all that use it
    service.error = None
    assert look(prober) == targets
    assert targets[1].parking.reason is None


@pytest.mark.parametrize("kind", ["drained", "ejected", "no money"])
def test_what_no_answer_could_change_is_not_asked(clock, kind):
    service = Service()
    target = a_probed(service, clock)
    if kind == "no money":
        fail(target, OutOfQuota("x"))
    elif kind == "drained":
        target.load.breaker.drain("moving")
    else:
        target.load.breaker.eject("bad")
    assert look(Prober(lambda: [target])) == []
    assert service.asked == 0


@pytest.mark.parametrize("take_out", [lambda breaker: breaker.drain("x"), lambda breaker: breaker.eject("x")])
def test_what_an_operator_took_out_is_left_alone_though_its_credential_was_refused(clock, take_out):
    service = Service(Unavailable("x"))
    target = a_probed(service, clock)
    fail(target, BadCredential("x"))
    take_out(target.load.breaker)
    assert look(Prober(lambda: [target])) == []
    assert service.asked == 0


def test_a_service_without_a_free_question_is_left_to_calls(clock):
    target = a_probed(None, clock)
    fail(target, Unavailable("x"))
    assert look(Prober(lambda: [target])) == []
