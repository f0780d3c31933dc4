"""What processes tell each other of targets: believed as far as it is more than one's own, and never told again."""

from time import monotonic

from hypothesis import given
from hypothesis import strategies as st
from targets import a_model, a_target

from dujiang.core.errors import BadCredential, NoSuchDeployment, OutOfQuota, Throttled, Timeout, Unavailable
from dujiang.resilience.events import Herald, take_up
from dujiang.resilience.settings import BreakerSettings, ResilienceSettings
from dujiang.resilience.target import Place

SETTINGS = ResilienceSettings(breaker=BreakerSettings(window=4, min_calls=2, open_s=5, max_open_s=20))
PLACES = [Place("p", "p/one", "main"), Place("p", "p/two", "main"), Place("p", "p/two", "spare")]
ERRORS = {
    "bad key": BadCredential("x"),
    "no money": OutOfQuota("x"),
    "missing": NoSuchDeployment("x"),
    "throttled": Throttled("x", retry_after_s=3.0),
    "down": Unavailable("x"),
    "well": None,
}


class Process:
    """The targets of one process, and its line to the others."""

    def __init__(self, name, clock, line):
        self.told = 0
        self.clock = clock
        self.line = line
        self.herald = Herald(name, self._publish)
        parkings = {}
        self.targets = []
        for place in PLACES:
            target = a_target(None, place, settings=SETTINGS, clock=clock, herald=self.herald, parkings=parkings)
            self.targets.append(target)
        self.models = {"m": a_model(self.targets)}

    def _publish(self, message):
        self.told += 1
        self.line.append(message)

    def call(self, n, error):
        target = self.targets[n]
        entry = target.enter(1) if target.barred_until <= self.clock() else None
        if entry is None:
            return
        if error is None:
            target.opened(entry, 0.1, self.clock(), is_streamed=False)
        else:
            target.failed(entry, error)
        target.leave(entry, 0, None, self.clock())

    def hear(self, message):
        event = self.herald.heard(message)
        if event is not None:
            take_up(event, self.models, self.clock())

    def bounds(self):
        return [
            (target.load.breaker.retry_at, target.load.cooldown.until, target.parking.reason is not None)
            for target in self.targets
        ]


class Clock:
    now = 100.0

    def __call__(self):
        return self.now


steps = st.lists(
    st.tuples(st.integers(0, 1), st.integers(0, len(PLACES) - 1), st.sampled_from(sorted(ERRORS)), st.floats(0, 3)),
    max_size=60,
)


@given(steps, st.sets(st.integers(0, 200)))
def test_processes_that_lose_news_are_only_slower(taken, lost):
    clock, line = Clock(), []
    processes = [Process("one", clock, line), Process("other", clock, line)]
    heard = 0
    for who, n, what, passed_s in taken:
        clock.now += passed_s
        processes[who].call(n, ERRORS[what])
        while heard < len(line):
            message = line[heard]
            for each in processes:
                told, before = each.told, each.bounds()
                if heard not in lost:
                    each.hear(message)
                assert each.told == told  # nobody repeats what it heard
                for (retry_at, cool, _), (retried_at, cooled, _) in zip(before, each.bounds(), strict=True):
                    assert cooled >= cool  # no time to come is shortened
                    assert retried_at >= retry_at or retry_at <= clock.now
            heard += 1
    for each in processes:
        for target in each.targets:
            assert target.load.breaker.retry_at <= clock.now + SETTINGS.breaker.max_open_s


@given(st.binary(max_size=40))
def test_nonsense_is_no_event(message):
    assert Herald("me", lambda _: None).heard(message) is None


def test_what_is_told_is_understood_by_others_alone():
    told = []
    herald = Herald("me", told.append)
    herald.tell("m", PLACES[0], "open", 4.5, "upstream_error")
    assert herald.heard(told[0]) is None
    event = Herald("you", told.append).heard(told[0])
    assert (event.model, event.provider, event.target, event.credential, event.what, event.left_s, event.reason) == (
        "m",
        "p",
        "p/one",
        "main",
        "open",
        4.5,
        "upstream_error",
    )


def two_models(herald):
    """A hasty and a patient model over one and the same place at the vendor's."""
    settings, parkings = ResilienceSettings(breaker=BreakerSettings(min_calls=1)), {}
    return {
        name: a_model(
            [a_target(None, PLACES[0], settings=settings, herald=herald, parkings=parkings, model=name)], name
        )
        for name in ("hasty", "patient")
    }


def test_what_one_model_finds_open_stays_closed_for_another_of_the_same_target():
    line = []
    here, there = two_models(Herald("here", line.append)), two_models(Herald("there", lambda _: None))
    target = here["hasty"].targets[0]
    target.failed(target.enter(1), Timeout("x"))
    for message in line:
        take_up(Herald("there", lambda _: None).heard(message), there, monotonic())
    for models in (here, there):
        assert {name: model.targets[0].load.breaker.state for name, model in models.items()} == {
            "hasty": "open",
            "patient": "closed",
        }


def test_a_credential_is_parked_for_all_models_and_a_service_that_answers_hastens_all():
    line = []
    here, there = two_models(Herald("here", line.append)), two_models(Herald("there", lambda _: None))
    hasty, patient = here["hasty"].targets[0], there["patient"].targets[0]
    patient.failed(patient.enter(1), Timeout("x"))
    Herald("here", line.append).tell("", PLACES[0]._replace(name=""), "answers", 0.0, "")
    hasty.failed(hasty.enter(1), BadCredential("x"))
    for message in line:
        take_up(Herald("there", lambda _: None).heard(message), there, monotonic())
    assert patient.load.breaker.allows()
    assert patient.parking.reason == "upstream_bad_credential"
