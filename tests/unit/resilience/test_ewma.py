"""Averages that forget by time."""

from math import exp

import pytest

from dujiang.resilience.ewma import Ewma, PeakEwma


def test_without_samples_both_are_nothing() -> None:
    assert Ewma().value == PeakEwma().value == PeakEwma().at(99.0) == 0.0


def test_the_past_counts_by_the_time_since() -> None:
    series = Ewma(decay_s=10)
    series.observe(4.0, 100.0)
    assert series.value == 4.0
    series.observe(8.0, 105.0)
    assert series.value == pytest.approx(8 - 4 * exp(-0.5))


def test_a_peak_is_believed_at_once_and_forgotten_slowly() -> None:
    series = PeakEwma(decay_s=10)
    series.observe(1.0, 100.0)
    series.observe(9.0, 100.0)
    assert series.value == 9.0
    series.observe(1.0, 105.0)
    assert series.value == pytest.approx(1 + 8 * exp(-0.5))


def test_what_is_not_measured_fades() -> None:
    series = PeakEwma(decay_s=10)
    series.observe(6.0, 100.0)
    assert series.at(100.0) == series.at(90.0) == 6.0
    assert series.at(120.0) == pytest.approx(6 * exp(-2))
    assert series.value == 6.0


def test_a_clock_that_steps_back_does_no_harm() -> None:
    for series in (Ewma(10), PeakEwma(10)):
        series.observe(2.0, 100.0)
        series.observe(1.0, -1e6)
        assert series.value == 2.0
        series.observe(1.0, 1000.0)
        assert series.value == pytest.approx(1.0)


def test_equal_samples_have_themselves_as_their_mean() -> None:
    """0.1 mixed with 0.1 comes out beside it for some weights, by a rounding."""
    for n in range(200):
        series = Ewma(decay_s=10)
        series.observe(0.1, 100.0)
        series.observe(0.1, 100.0 + n / 7)
        assert series.value == 0.1
