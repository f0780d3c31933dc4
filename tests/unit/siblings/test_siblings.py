"""Workers that ask each other through the parent, here all on one loop."""

import asyncio
import logging
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from dujiang.siblings.kept_counts import METRICS
from dujiang.siblings.line import MESSAGE_LIMIT_BYTES, Answer, Ask, Line, Ready, Seen, ToParent, ToWorker
from dujiang.siblings.siblings import Siblings, Told
from dujiang.siblings.switchboard import Switchboard
from dujiang.telemetry.counts import Counts, Levels, Sample
from dujiang.telemetry.troubles import Trouble

LEVELS = Levels(1, 0, 1, False, 1.0, 1, None, None)


class House:
    """A parent and its workers. `ends` are the workers' ends of the lines."""

    def __init__(self, count: int) -> None:
        self.switchboard = Switchboard(count)
        self.workers = [Siblings(n + 1, count) for n in range(count)]
        self.ends: list[Line] = []
        self.lines: list[Line] = []
        self.lost = asyncio.Event()
        self.seen: dict[int, frozenset[Trouble]] = {}

    async def connect(self, siblings: Siblings) -> None:
        loop = asyncio.get_running_loop()
        ours, theirs = socket.socketpair()
        ready = loop.create_future()

        def hear(message: ToParent) -> None:
            match message:
                case Ready():
                    self.switchboard.connect(siblings.number, line)
                    ready.set_result(None)
                case Ask():
                    self.switchboard.ask(siblings.number, message)
                case Answer():
                    self.switchboard.hear(siblings.number, message)
                case Seen():
                    self.seen[siblings.number] = message.troubles

        def lose() -> None:
            self.switchboard.disconnect(siblings.number, line)
            self.lost.set()

        line = Line(ToParent, hear, lose)
        end = Line(ToWorker, siblings.received, lambda: None)
        await loop.create_unix_connection(lambda: line, sock=ours)
        await loop.create_unix_connection(lambda: end, sock=theirs)
        self.lines.append(line)
        self.ends.append(end)
        siblings.connect(end)
        siblings.tell_ready()
        await ready


@asynccontextmanager
async def house_of(count: int) -> AsyncIterator[House]:
    house = House(count)
    for siblings in house.workers:
        siblings.answer("number", lambda siblings=siblings: siblings.number)
        await house.connect(siblings)
    try:
        yield house
    finally:
        for line in (*house.lines, *house.ends):
            line.close()
        await asyncio.sleep(0)


def of_a_house(count: int, test: Callable[[House], Awaitable[None]]) -> None:
    async def run() -> None:
        async with asyncio.timeout(20), house_of(count) as house:
            await test(house)

    asyncio.run(run())


async def asked(siblings: Siblings, kind: type = int, topic: str = "number") -> Told:
    return await siblings.ask(topic, kind)


def test_everybody_hears_everybody() -> None:
    async def test(house: House) -> None:
        for told in await asyncio.gather(*(asked(each) for each in house.workers)):
            assert (sorted(told.answers), told.silent) == ([1, 2, 3], 0)

    of_a_house(3, test)


def test_one_that_is_alone_asks_nobody() -> None:
    siblings = Siblings()
    siblings.answer("number", lambda: 7)
    assert asyncio.run(asked(siblings)) == Told([7], 0)


def test_many_questions_at_once_are_one() -> None:
    async def test(house: House) -> None:
        times = 0

        def count() -> int:
            nonlocal times
            times += 1
            return 2

        house.workers[1].answer("number", count)
        for told in await asyncio.gather(*(asked(house.workers[0]) for _ in range(50))):
            assert sorted(told.answers) == [1, 2]
        assert times == 1

    of_a_house(2, test)


def test_who_leaves_while_asking_takes_the_answer_from_nobody_else() -> None:
    async def test(house: House) -> None:
        first = asyncio.create_task(asked(house.workers[0]))
        second = asyncio.create_task(asked(house.workers[0]))
        await asyncio.sleep(0)
        first.cancel()
        assert sorted((await second).answers) == [1, 2]

    of_a_house(2, test)


def test_a_large_answer_arrives_whole() -> None:
    async def test(house: House) -> None:
        house.workers[1].answer("number", lambda: ["x" * 1000] * 5000)
        house.workers[0].answer("number", list)
        told = await asked(house.workers[0], list[str])
        assert sorted(map(len, told.answers)) == [0, 5000]

    of_a_house(2, test)


def test_one_that_died_is_silent_and_holds_up_nobody() -> None:
    async def test(house: House) -> None:
        house.ends[1]._on_message = lambda message: None  # it hangs, and then dies
        asking = asyncio.create_task(asked(house.workers[0]))
        await asyncio.sleep(0.01)
        house.ends[1].close()
        assert await asking == Told([1], 1)
        assert await asked(house.workers[0]) == Told([1], 1)
        house.workers[1] = Siblings(2, 2)
        house.workers[1].answer("number", lambda: 22)
        await house.connect(house.workers[1])
        assert sorted((await asked(house.workers[0])).answers) == [1, 22]

    of_a_house(2, test)


def test_one_that_hangs_is_left_out_and_its_late_answer_is_nobodys() -> None:
    async def test(house: House) -> None:
        late: list[ToWorker] = []
        receive, house.ends[1]._on_message = house.ends[1]._on_message, late.append
        assert await asked(house.workers[0]) == Told([1], 1)
        house.ends[1]._on_message = receive
        for message in late:
            receive(message)
        assert sorted((await asked(house.workers[0])).answers) == [1, 2]

    of_a_house(2, test)


def test_a_parent_that_hangs_leaves_the_own_answer() -> None:
    async def test(house: House) -> None:
        house.lines[0]._on_message = lambda message: None
        assert await asked(house.workers[0]) == Told([1], 1)

    of_a_house(2, test)


def test_an_answer_that_fails_ends_no_line(caplog: pytest.LogCaptureFixture) -> None:
    async def test(house: House) -> None:
        house.workers[1].answer("number", lambda: 1 // 0)
        assert await asked(house.workers[0]) == Told([1], 1)
        house.workers[1].answer("number", lambda: 2)
        assert sorted((await asked(house.workers[0])).answers) == [1, 2]

    with caplog.at_level(logging.ERROR):
        of_a_house(2, test)
    assert "cannot be answered" in caplog.text


def test_the_parent_hears_what_a_worker_sees() -> None:
    async def test(house: House) -> None:
        seen = frozenset({Trouble("quota.spent", "p", "main", "upstream_out_of_quota")})
        house.workers[1].tell_troubles(seen)
        assert sorted((await asked(house.workers[1])).answers) == [1, 2]
        assert house.seen == {2: seen}

    of_a_house(2, test)


def test_nonsense_ends_the_line() -> None:
    async def test(house: House) -> None:
        transport = house.ends[1]._transport
        assert transport is not None
        transport.write((MESSAGE_LIMIT_BYTES + 1).to_bytes(4, "big"))
        await house.lost.wait()
        assert await asked(house.workers[0]) == Told([1], 1)

    of_a_house(2, test)


def counted(worker: int, calls: int) -> Sample:
    return Sample(worker, Counts(calls={("chat", "m", "p", "ok"): calls}), LEVELS)


def total(told: Told[Sample]) -> int:
    return sum(sum(sample.counts.calls.values()) for sample in told.answers)


def test_counts_never_fall() -> None:
    """Whether a worker is silent for a while, dies, or its successor dies too."""

    async def test(house: House) -> None:
        first, second = house.workers
        first.answer(METRICS, lambda: counted(1, 10))
        second.answer(METRICS, lambda: counted(2, 5))
        assert total(await asked(first, Sample, METRICS)) == 15
        receive, house.ends[1]._on_message = house.ends[1]._on_message, lambda message: None
        told = await asked(first, Sample, METRICS)
        assert (total(told), told.silent) == (15, 1)
        assert [sample.worker for sample in told.answers if sample.levels is not None] == [1]
        house.ends[1]._on_message = receive
        assert total(await asked(first, Sample, METRICS)) == 15
        for lives in (1, 2, 3):
            house.lost.clear()
            house.ends[-1].close()
            await house.lost.wait()
            assert total(await asked(first, Sample, METRICS)) == 10 + 5 * lives
            successor = Siblings(2, 2)
            successor.answer(METRICS, lambda: counted(2, 5))
            await house.connect(successor)
            assert total(await asked(successor, Sample, METRICS)) == 10 + 5 * (lives + 1)

    of_a_house(2, test)
