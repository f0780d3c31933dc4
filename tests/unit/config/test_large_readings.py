"""A document that is read by another process: it ends in a tree or in a reason, whatever becomes of that process."""

import asyncio
import sys

import pytest

from dujiang.config.apart import MAX_WAITING, Readers, Reading
from dujiang.config.pieces import joined, json_of, pieces
from dujiang.config.problems import InvalidDocument
from dujiang.config.reader import Task
from dujiang.core.errors import AppError, LimitExceeded

READ = Task("read", "json")
ENDLESS = (sys.executable, "-c", "import time; time.sleep(60)")
CRASHING = (sys.executable, "-c", "import sys; sys.stdin.buffer.read(); print('[\"models\",null,{}]'); sys.exit(3)")


def test_reads_what_it_is_given() -> None:
    assert Reading(READ, b'{"models": {"a": 1, "b": [2]}, "colour": 3}').run() == {
        "models": {"a": 1, "b": [2]},
        "colour": 3,
    }


def test_checks_what_it_is_given() -> None:
    with pytest.raises(InvalidDocument) as caught:
        Reading(Task("check", "yaml"), b"colour: 3\nmodels: {m: {targets: []}}").run()
    assert {problem.path for problem in caught.value.problems} == {"colour", "models.m.targets"}


def test_one_that_takes_too_long_is_ended() -> None:
    with pytest.raises(InvalidDocument, match=r"more than 0\.1 s"):
        Reading(READ, b"{}", deadline_s=0.1, command=ENDLESS).run()


def test_one_that_dies_is_no_answer() -> None:
    with pytest.raises(AppError, match="ended too soon"):
        Reading(READ, b"{}", command=CRASHING).run()


def test_one_that_was_stopped_before_it_began() -> None:
    reading = Reading(READ, b"{}", command=ENDLESS)
    reading.stop("nobody waits")
    with pytest.raises(InvalidDocument, match="nobody waits"):
        reading.run()


async def _never() -> None:
    await asyncio.Event().wait()


async def _at_once() -> None:
    await asyncio.sleep(0)


def test_nobody_reads_for_one_who_left() -> None:
    async def leave() -> None:
        readers = Readers()
        try:
            with pytest.raises(InvalidDocument, match="gone"):
                await readers.read(READ, b"{}", _at_once)
            assert await readers.read(READ, b'{"a": 1}', _never) == {"a": 1}
        finally:
            readers.close()

    asyncio.run(leave())


def test_few_wait() -> None:
    async def crowd() -> None:
        readers = Readers()
        try:
            asked = [asyncio.create_task(readers.read(READ, b"{}", _never)) for _ in range(MAX_WAITING)]
            await asyncio.sleep(0)
            with pytest.raises(LimitExceeded):
                await readers.read(READ, b"{}", _never)
            assert await asyncio.gather(*asked) == [{}] * MAX_WAITING
        finally:
            readers.close()

    asyncio.run(crowd())


def test_pieces_are_the_whole() -> None:
    tree = {"models": {"a": {"x": 1}, "b": None}, "aliases": None, "limits": {"rpm": 1}, "scenes": {}}
    assert joined(pieces(tree)) == tree
    assert json_of(tree) == b'{"models":{"a":{"x":1},"b":null},"aliases":null,"limits":{"rpm":1},"scenes":{}}'
