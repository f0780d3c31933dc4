"""What is wrong at vendors is told once, whoever sees it."""

from collections.abc import Mapping
from typing import Any

from dujiang.telemetry.troubles import OVER_S, Trouble, Troubles

OPEN = Trouble("breaker.opened", "p", "main", "upstream_timeout", "m", "p/m")
SLOW = Trouble("breaker.opened", "p", "main", "slow", "m", "p/m")
REFUSED = Trouble("credential.refused", "p", "main", "upstream_bad_credential")


class Parent:
    def __init__(self) -> None:
        self.now = 1000.0
        self.told: list[tuple[str, Mapping[str, Any]]] = []
        self._troubles = Troubles(lambda kind, facts: self.told.append((kind, facts)), lambda: self.now)

    def kinds(self, worker: int, *troubles: Trouble) -> list[str]:
        """What is told when a worker says this."""
        self.told.clear()
        self._troubles.hear(worker, troubles)
        return [kind for kind, _ in self.told]


def test_what_several_workers_see_is_told_once() -> None:
    parent = Parent()
    assert parent.kinds(1) == []
    assert parent.kinds(1, OPEN) == ["breaker.opened"]
    assert parent.told[0][1] == {
        "target": {"provider": "p", "credential": "main", "model": "m", "target": "p/m", "reason": "upstream_timeout"}
    }
    assert parent.kinds(2, SLOW) == []
    assert parent.kinds(1, OPEN, REFUSED) == ["credential.refused"]
    assert parent.told[0][1] == {"target": {"provider": "p", "credential": "main", "reason": "upstream_bad_credential"}}


def test_what_is_over_for_all_is_told_again_and_what_comes_back_soon_is_not() -> None:
    parent = Parent()
    parent.kinds(1, OPEN)
    parent.kinds(2, OPEN)
    parent.now += 10 * OVER_S
    assert parent.kinds(1) == []
    assert parent.kinds(1, OPEN) == []
    parent.kinds(1)
    parent.now += 10 * OVER_S
    parent.kinds(2)
    parent.now += OVER_S - 1
    assert parent.kinds(1, OPEN) == []
    parent.kinds(1)
    parent.now += OVER_S
    assert parent.kinds(1, OPEN) == ["breaker.opened"]


def test_a_worker_that_died_is_followed_by_one_that_finds_the_same() -> None:
    parent = Parent()
    parent.kinds(1, REFUSED)
    parent.now += 10 * OVER_S
    assert parent.kinds(1) == []
    parent.now += 1
    assert parent.kinds(1, REFUSED) == []
