"""Calls are divided among targets by weight and load."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from dujiang.resilience.balancer import least_loaded


class Load:
    in_flight = 0


class Target:
    def __init__(self, name: str, weight: float) -> None:
        self.name = name
        self.weight = weight
        self.load = Load()
        self.credit = 0.0


@given(st.lists(st.integers(1, 9), min_size=1, max_size=6))
def test_lone_calls_go_round_exactly_by_weight(weights: list[int]) -> None:
    targets = [Target(str(n), weight) for n, weight in enumerate(weights)]
    served = Counter(least_loaded(targets).name for _ in range(sum(weights) * 3))
    assert served == {target.name: target.weight * 3 for target in targets}


@given(st.lists(st.integers(1, 9), min_size=2, max_size=6), st.integers(1, 200))
def test_calls_in_flight_are_shared_by_weight(weights: list[int], calls: int) -> None:
    targets = [Target(str(n), weight) for n, weight in enumerate(weights)]
    for _ in range(calls):
        least_loaded(targets).load.in_flight += 1
    for target in targets:
        fair = calls * target.weight / sum(weights)
        assert abs(target.load.in_flight - fair) <= len(targets) * max(weights)


def test_a_busy_target_is_passed_over() -> None:
    heavy, light = Target("heavy", 3), Target("light", 1)
    heavy.load.in_flight = 1
    assert least_loaded([heavy, light]) is light


def test_turns_of_a_heavy_target_are_spread() -> None:
    targets = [Target("a", 5), Target("b", 1), Target("c", 1)]
    assert "".join(least_loaded(targets).name for _ in range(7)) == "aabacaa"
