"""Who may enter, who is told to wait, and that no place is ever lost."""

import asyncio
import selectors
from collections.abc import Awaitable, Callable
from random import Random

import pytest

from dujiang.core.errors import LimitExceeded
from dujiang.resilience.fair_queue import FairQueue
from dujiang.resilience.gate import Gate


class _NoWaiting(selectors.DefaultSelector):
    """Instead of waiting for a time, makes it that time."""

    def __init__(self) -> None:
        super().__init__()
        self.now_s = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        self.now_s += timeout or 0.0
        return super().select(0)


class SimulatedLoop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self._instant = _NoWaiting()
        super().__init__(self._instant)

    def time(self) -> float:
        return self._instant.now_s


def simulated(main: Callable[[], Awaitable[None]]) -> None:
    with asyncio.Runner(loop_factory=SimulatedLoop) as runner:
        runner.run(main())


def gate_of(places: int, capacity: int = 10, max_wait_s: float = 5.0) -> Gate:
    return Gate(FairQueue(capacity, max_wait_s), lambda: places, asyncio.get_running_loop().time)


def test_nobody_waits_while_there_is_room() -> None:
    async def main() -> None:
        gate = gate_of(2)
        assert [gate.try_enter() for _ in range(3)] == [True, True, False]
        gate.leave()
        assert gate.try_enter()
        assert gate.inside == 2

    simulated(main)


def test_those_who_wait_enter_in_turn_and_nobody_overtakes_them() -> None:
    async def main() -> None:
        gate = gate_of(1)
        entered: list[str] = []

        async def call(name: str) -> None:
            await gate.wait("app", 100)
            entered.append(name)

        assert gate.try_enter()
        tasks = [asyncio.create_task(call(name)) for name in "abc"]
        await asyncio.sleep(0)
        gate.leave()
        assert not gate.try_enter()  # the place is promised to a, who does not know yet
        assert gate.inside == 1
        for _ in "abc":
            await asyncio.sleep(0)
            gate.leave()
        await asyncio.gather(*tasks)
        assert entered == ["a", "b", "c"]
        assert (gate.inside, gate.waiting) == (0, 0)

    simulated(main)


def test_a_call_is_refused_when_its_time_has_passed() -> None:
    async def main() -> None:
        gate = gate_of(1)
        now_s = asyncio.get_running_loop().time
        assert gate.try_enter()

        async def waits(deadline_s: float) -> float:
            with pytest.raises(LimitExceeded) as refused:
                await gate.wait("app", deadline_s)
            assert refused.value.reason == "queue"
            assert refused.value.retry_after_s is not None
            return now_s()

        assert await asyncio.gather(waits(100), waits(2), waits(3)) == pytest.approx([5, 2, 3], abs=0.01)
        assert (gate.inside, gate.waiting) == (1, 0)

    simulated(main)


def test_more_than_may_wait_are_refused_at_once_with_what_they_would_wait() -> None:
    async def main() -> None:
        gate = gate_of(1, capacity=2)
        now_s = asyncio.get_running_loop().time
        gate.try_enter()
        tasks = [asyncio.create_task(gate.wait("app", 100)) for _ in range(2)]
        await asyncio.sleep(1)
        gate.leave()
        await asyncio.sleep(0)
        tasks.append(asyncio.create_task(gate.wait("app", 100)))
        await asyncio.sleep(0)
        with pytest.raises(LimitExceeded) as refused:
            await gate.wait("app", 100)
        assert refused.value.retry_after_s == pytest.approx(3)
        assert gate.refused == {"full": 1}
        assert now_s() == pytest.approx(1)
        for _ in range(3):
            gate.leave()
            await asyncio.sleep(0)
        await asyncio.gather(*tasks)

    simulated(main)


def test_a_call_that_makes_room_for_another_app_is_told() -> None:
    async def main() -> None:
        gate = gate_of(1, capacity=4)
        gate.try_enter()
        heavy = [asyncio.create_task(gate.wait("heavy", 100)) for _ in range(4)]
        await asyncio.sleep(0)
        light = asyncio.create_task(gate.wait("light", 100))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert [task.done() for task in heavy] == [False, False, False, True]
        assert isinstance(heavy[3].exception(), LimitExceeded)
        assert gate.refused == {"evicted": 1}
        for _ in range(2):
            gate.leave()
            await asyncio.sleep(0)
        assert light.done()
        for _ in range(3):
            gate.leave()
            await asyncio.sleep(0)
        await asyncio.gather(*heavy[:3])

    simulated(main)


@pytest.mark.parametrize("cancelled_first", [True, False])
def test_a_place_given_to_a_caller_who_has_just_gone_goes_to_the_next(*, cancelled_first: bool) -> None:
    async def main() -> None:
        gate = gate_of(1)
        gate.try_enter()
        first, second = (asyncio.create_task(gate.wait("app", 100)) for _ in range(2))
        await asyncio.sleep(0)
        steps = [first.cancel, gate.leave]
        for step in steps if cancelled_first else reversed(steps):
            step()
        await asyncio.wait([first, second])
        assert first.cancelled()
        assert second.exception() is None
        assert (gate.inside, gate.waiting) == (1, 0)

    simulated(main)


def test_who_is_refused_and_cancelled_at_once_holds_no_place() -> None:
    async def main() -> None:
        gate = gate_of(1, max_wait_s=1)
        gate.try_enter()
        task = asyncio.create_task(gate.wait("app", 100))
        await asyncio.sleep(0)
        asyncio.get_running_loop().call_at(1.0, task.cancel)
        await asyncio.wait([task])
        assert (gate.inside, gate.waiting) == (1, 0)

    simulated(main)


def test_a_pool_without_places_lets_wait_until_a_target_recovers() -> None:
    async def main() -> None:
        places = 0
        gate = Gate(FairQueue(10, 5), lambda: places, asyncio.get_running_loop().time)
        assert not gate.try_enter()
        tasks = [asyncio.create_task(gate.wait("app", 100)) for _ in range(3)]
        await asyncio.sleep(1)
        places = 2
        gate.admit()
        await asyncio.sleep(0)
        assert [task.done() for task in tasks] == [True, True, False]
        gate.leave()
        await asyncio.gather(*tasks)
        assert gate.inside == 2

    simulated(main)


@pytest.mark.parametrize("seed", range(10))
def test_no_place_is_lost_whatever_callers_do(seed: int) -> None:
    """A thousand callers of which many are cancelled, while the number of places changes."""
    random = Random(seed)

    async def main() -> None:
        places = 3
        gate = Gate(FairQueue(50, 5), lambda: places, asyncio.get_running_loop().time)
        ends: list[str] = []

        async def call(app: str) -> None:
            try:
                if not gate.try_enter():
                    await gate.wait(app, asyncio.get_running_loop().time() + random.uniform(0, 8))
            except LimitExceeded:
                ends.append("refused")
                return
            try:
                assert gate.inside <= most
                await asyncio.sleep(random.uniform(0, 0.2))
                ends.append("served")
            finally:
                gate.leave()

        most = 6
        tasks: list[asyncio.Task[None]] = []
        for _ in range(1000):
            tasks.append(asyncio.create_task(call(random.choice("abc"))))
            if random.random() < 0.2:
                random.choice(tasks).cancel()
            if random.random() < 0.05:
                places = random.randint(0, most)
                gate.admit()
            await asyncio.sleep(random.choice([0, 0, random.uniform(0, 0.05)]))
        places = 3
        gate.admit()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert not [each for each in results if each is not None and not isinstance(each, asyncio.CancelledError)]
        assert ends.count("served") > 200
        assert (gate.inside, gate.waiting) == (0, 0)

    simulated(main)


def test_nobody_overtakes_those_who_wait_when_places_grow() -> None:
    async def main() -> None:
        places = 0
        gate = Gate(FairQueue(10, 5), lambda: places, asyncio.get_running_loop().time)
        first = asyncio.create_task(gate.wait("app", 100))
        await asyncio.sleep(0)
        places = 2
        assert not gate.try_enter()
        await gate.wait("app", 100)  # lets in both, though nobody called `admit`
        await first
        assert gate.inside == 2

    simulated(main)


def test_who_is_cancelled_takes_no_room_in_the_queue() -> None:
    async def main() -> None:
        gate = gate_of(0)
        tasks = [asyncio.create_task(gate.wait("app", 100)) for _ in range(3)]
        await asyncio.sleep(0)
        tasks[1].cancel()
        await asyncio.wait([tasks[1]])
        assert gate.waiting == 2
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        assert gate.waiting == 0

    simulated(main)
