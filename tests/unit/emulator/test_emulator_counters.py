"""The counters: each call counted once, gauges that tell the truth across a reset."""

from dujiang.emulator.counters import Counters, Tally


def test_a_call_is_counted_in_and_out():
    counters = Counters()
    first, second = counters.begin("m", "k"), counters.begin("m", "")
    first.open_stream()
    assert counters.model("m") == Tally(attempts=2, open_streams=1, in_flight=2, max_in_flight=2)
    first.complete()
    second.disconnect()
    assert counters.model("m") == Tally(attempts=2, completed=1, disconnected=1, max_in_flight=2)
    assert counters.key("k") == Tally(attempts=1, completed=1, max_in_flight=1)
    assert set(counters.keys) == {"k"}


def test_a_call_ends_once():
    counters = Counters()
    attempt = counters.begin("m", "k")
    attempt.abandon()
    attempt.disconnect()
    attempt.complete()
    assert counters.model("m") == Tally(attempts=1, max_in_flight=1)


def test_asking_counts_nothing():
    counters = Counters()
    assert counters.model("never") == Tally()
    assert counters.snapshot() == {"models": {}, "keys": {}, "token_fetches": 0}


def test_reset_keeps_what_is_in_flight():
    counters = Counters()
    running = counters.begin("m", "k")
    running.open_stream()
    counters.begin("done", "k").complete()
    counters.reset()
    now = {"attempts": 0, "completed": 0, "disconnected": 0, "open_streams": 1, "in_flight": 1, "max_in_flight": 1}
    assert counters.snapshot() == {"models": {"m": now}, "keys": {"k": now}, "token_fetches": 0}
    running.complete()
    assert counters.model("m").in_flight == counters.model("m").open_streams == 0
