"""What a process lets through by itself."""

import asyncio

from dujiang.core.limits import Bound, Permit, Refusal
from dujiang.storage.redis.stand_in import KNOWN_ACCOUNTS, KNOWN_S, StandIn
from dujiang.storage.store import Account, Balance, Hold, Shortage

ACCOUNT = Account("a", 1000)


class Clock:
    now = 5000.0

    def __call__(self):
        return self.now


def reserve(stand_in, amount, name="n", account=ACCOUNT):
    return asyncio.run(stand_in.reserve([Hold(account, amount)], name))


def test_a_limit_is_divided_and_stays_divided():
    stand_in = StandIn(Clock())
    stand_in.is_there(4)
    answers = []
    for _ in range(3):
        answers = [asyncio.run(stand_in.admit([Bound("a", rpm=10), Bound("b", rpm=2)], 0)) for _ in range(5)]
        stand_in.end()
    assert [isinstance(answer, Permit) for answer in answers] == [False] * 5
    assert [answer.bound for answer in answers if isinstance(answer, Refusal)] == [Bound("b", rpm=2)] * 5


def test_what_is_left_is_divided_once():
    stand_in = StandIn(Clock())
    stand_in.is_there(2)
    stand_in.hear("a", Balance(200, 100))
    assert reserve(stand_in, 300, "one") is None
    assert reserve(stand_in, 100, "two") == Shortage(ACCOUNT, 200, 800)
    stand_in.settle("one", [50])
    stand_in.add("a", 50, -300)
    assert reserve(stand_in, 300, "three") is None
    assert reserve(stand_in, 1, "four") == Shortage(ACCOUNT, 250, 750)


def test_the_next_time_what_was_spent_meanwhile_is_gone():
    stand_in = StandIn(Clock())
    stand_in.hear("a", Balance(0, 0))
    assert reserve(stand_in, 900, "one") is None
    stand_in.end()
    assert reserve(stand_in, 100, "two") is None
    assert isinstance(reserve(stand_in, 1, "three"), Shortage)


def test_who_was_heard_of_too_long_ago_is_not_known():
    clock = Clock()
    stand_in = StandIn(clock)
    stand_in.hear("a", Balance(0, 0))
    clock.now += KNOWN_S
    assert reserve(stand_in, 1) is None
    stand_in.is_there(1)
    assert reserve(stand_in, 1) is None
    clock.now += 1
    stand_in.is_there(1)
    assert reserve(stand_in, 1) == Shortage(ACCOUNT, 0, 1000)


def test_only_so_many_are_remembered():
    stand_in = StandIn(Clock())
    for number in range(KNOWN_ACCOUNTS + 1):
        stand_in.hear(str(number), Balance(0, 0))
    assert reserve(stand_in, 1, account=Account("0", 9)) == Shortage(Account("0", 9), 0, 9)
    assert reserve(stand_in, 1, account=Account("1", 9)) is None
    stand_in.forget()
    assert isinstance(reserve(stand_in, 1, account=Account("1", 9)), Shortage)
