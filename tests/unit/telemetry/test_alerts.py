"""The queue of alerts: bounded, patient for a while, never in the way of who tells of something."""

import asyncio
import hmac
import json
from hashlib import sha256
from threading import Thread
from typing import Any

from dujiang.core.errors import Misconfigured
from dujiang.core.secret import Secret
from dujiang.telemetry.alerts import Alerts, Receiver, signature

RECEIVER = Receiver("http://receiver/", Secret("s"))


class Wire:
    """Writes down what is sent; answers by a list of statuses or errors, then 200."""

    def __init__(self, *answers: Any) -> None:
        self.answers = list(answers)
        self.sent: list[tuple[str, dict[str, str], Any]] = []
        self.is_open = asyncio.Event()
        self.is_open.set()

    async def post(self, url, fields, body, *, allow_private_network, timeout_s):
        await self.is_open.wait()
        self.sent.append((url, dict(fields), json.loads(body)))
        answer = self.answers.pop(0) if self.answers else 200
        if isinstance(answer, Exception):
            raise answer
        return answer


async def to_receiver() -> Receiver | None:
    return RECEIVER


async def to_nobody() -> Receiver | None:
    return None


def test_a_signature_is_that_of_the_moment_and_the_body():
    expected = hmac.new(b"s", b"1700000000.{}", sha256).hexdigest()
    assert signature(Secret("s"), b"{}", 1_700_000_000) == f"t=1700000000,v1={expected}"


def test_what_any_thread_tells_is_sent_in_order_before_the_end():
    async def run():
        wire = Wire()
        alerts = Alerts(to_receiver, wire.post)
        async with alerts.delivering():
            thread = Thread(target=lambda: [alerts.send("x.y", {"n": n}) for n in range(5)])
            thread.start()
            await asyncio.to_thread(thread.join)
        return wire.sent

    sent = asyncio.run(run())
    assert [body["n"] for _, _, body in sent] == [0, 1, 2, 3, 4]
    assert {body["type"] for _, _, body in sent} == {"x.y"}
    assert all("X-Dujiang-Signature" in fields for _, fields, _ in sent)


def test_whoever_named_no_secret_gets_no_signature():
    async def run():
        wire = Wire()

        async def find():
            return Receiver("http://receiver/", Secret(""))

        alerts = Alerts(find, wire.post)
        async with alerts.delivering():
            alerts.send("x", {})
        return wire.sent

    [(_, fields, _)] = asyncio.run(run())
    assert "X-Dujiang-Signature" not in fields


def test_a_full_queue_drops_and_counts(caplog):
    async def run():
        wire = Wire()
        wire.is_open.clear()
        alerts = Alerts(to_receiver, wire.post, limit=3)
        async with alerts.delivering():
            alerts.send("x", {"n": 0})
            await asyncio.sleep(0.01)
            for n in range(1, 10):
                alerts.send("x", {"n": n})
            await asyncio.sleep(0)
            wire.is_open.set()
        return alerts.dropped, wire.sent

    dropped, sent = asyncio.run(run())
    assert (dropped, [body["n"] for _, _, body in sent]) == (6, [0, 1, 2, 3])
    assert sum("too many alerts" in record.message for record in caplog.records) == 6


def test_an_alert_that_is_never_taken_is_given_up_and_the_next_is_sent(caplog):
    async def run():
        wire = Wire(Misconfigured("nobody there"), 500)
        alerts = Alerts(to_receiver, wire.post, patience_s=0.1)
        async with alerts.delivering():
            for n in range(3):
                alerts.send("x", {"n": n})
        return wire.sent

    sent = asyncio.run(run())
    assert [body["n"] for _, _, body in sent] == [0, 1, 2]
    told = [record.message for record in caplog.records if "given up" in record.message]
    assert len(told) == 2
    assert "nobody there" in told[0]
    assert "500" in told[1]


def test_a_bug_in_one_delivery_does_not_end_the_others(caplog):
    async def run():
        wire = Wire(ValueError("a bug"))
        alerts = Alerts(to_receiver, wire.post)
        async with alerts.delivering():
            alerts.send("x", {"n": 0})
            alerts.send("x", {"n": 1})
        return wire.sent

    assert [body["n"] for _, _, body in asyncio.run(run())] == [0, 1]
    assert any("could not be sent" in record.message for record in caplog.records)


def test_nothing_is_sent_where_nobody_wants_it_and_all_is_logged(caplog):
    async def run():
        wire = Wire()
        alerts = Alerts(to_nobody, wire.post)
        alerts.send("early", {})
        async with alerts.delivering():
            alerts.send("x", {})
        alerts.send("late", {})
        return wire.sent

    assert asyncio.run(run()) == []
    assert sum(record.message.startswith("alert {") for record in caplog.records) == 3


def test_what_cannot_be_delivered_does_not_keep_the_process(caplog):
    async def run():
        wire = Wire()
        wire.is_open.clear()
        alerts = Alerts(to_receiver, wire.post)
        async with alerts.delivering():
            alerts.send("x", {"n": 0})
            alerts.send("x", {"n": 1})

    asyncio.run(run())
    assert any("2 alerts were not delivered" in record.message for record in caplog.records)
