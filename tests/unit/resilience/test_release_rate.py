"""The time between two releases is measured while places are taken, and a pause is soon forgotten."""

import pytest

from dujiang.resilience.release_rate import ReleaseRate


def _steady(rate: ReleaseRate, from_s: float, count: int, interval_s: float = 0.1) -> float:
    for n in range(1, count + 1):
        rate.note(from_s + n * interval_s)
    return from_s + count * interval_s


def test_nothing_is_known_at_first() -> None:
    assert ReleaseRate().interval_s(100) == 0


def test_a_steady_rate_is_found() -> None:
    rate = ReleaseRate()
    assert rate.interval_s(_steady(rate, 0, 100)) == pytest.approx(0.1)


def test_batches_do_not_sway_it() -> None:
    rate = ReleaseRate()
    for n in range(1, 100):
        for _ in range(10):
            rate.note(float(n))
    assert rate.interval_s(99) == pytest.approx(0.1, rel=0.2)


def test_idle_time_counts_for_nothing() -> None:
    rate = ReleaseRate()
    until_s = _steady(rate, 0, 100)
    rate.resume(until_s + 1000)
    rate.note(until_s + 1000.1)
    assert rate.interval_s(until_s + 1000.1) == pytest.approx(0.1)


def test_a_long_pause_is_forgotten_in_seconds() -> None:
    rate = ReleaseRate()
    until_s = _steady(rate, 0, 100)
    rate.note(until_s + 600)
    assert rate.interval_s(_steady(rate, until_s + 600, 100)) < 0.2
