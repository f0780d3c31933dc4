"""One response, as the application sends it and as it is written."""

import asyncio
from typing import Any

import pytest

from dujiang.server.exchange import Exchange


class FakeLine:
    date = b"date: now\r\n"

    def __init__(self) -> None:
        self.written = b""
        self.finished = 0

    def write(self, data: bytes) -> None:
        self.written += data

    async def drain(self) -> None:
        pass

    def resume_reading(self) -> None:
        pass

    def finish(self, exchange: Exchange) -> None:
        self.finished += 1


def respond(
    *bodies: bytes,
    status: int = 200,
    method: str = "GET",
    fields: list[tuple[bytes, bytes]] | None = None,
    keeps_alive: bool = True,
    is_http_1_0: bool = False,
) -> tuple[list[bytes], bytes, Exchange]:
    """The lines of the head, the body as written, and the exchange."""
    line = FakeLine()
    exchange = Exchange(line, {"method": method}, keeps_alive=keeps_alive, is_http_1_0=is_http_1_0)

    async def main() -> None:
        await exchange.send({"type": "http.response.start", "status": status, "headers": fields or []})
        assert line.written == b""
        for n, body in enumerate(bodies, start=1):
            more = {"more_body": True} if n < len(bodies) else {}
            await exchange.send({"type": "http.response.body", "body": body, **more})

    asyncio.run(main())
    assert line.finished == 1
    head, _, body = line.written.partition(b"\r\n\r\n")
    return head.split(b"\r\n"), body, exchange


def test_a_body_at_once_has_a_length() -> None:
    head, body, exchange = respond(b"abc", fields=[(b"a", b"b")])
    assert head == [b"HTTP/1.1 200 OK", b"date: now", b"a: b", b"content-length: 3"]
    assert body == b"abc"
    assert exchange.keeps_alive


def test_a_body_in_parts_is_chunked() -> None:
    head, body, _ = respond(b"", b"abc", b"", b"d" * 16, b"")
    assert b"transfer-encoding: chunked" in head
    assert body == b"3\r\nabc\r\n10\r\n" + b"d" * 16 + b"\r\n0\r\n\r\n"


def test_a_declared_length_is_kept() -> None:
    head, body, _ = respond(b"ab", b"c", fields=[(b"content-length", b"3")])
    assert head.count(b"content-length: 3") == 1
    assert b"transfer-encoding: chunked" not in head
    assert body == b"abc"


@pytest.mark.parametrize("bodies", [(b"abc",), (b"ab", b"c")])
def test_head_gets_no_body(bodies: tuple[bytes, ...]) -> None:
    head, body, _ = respond(*bodies, method="HEAD")
    assert body == b""
    assert b"content-length: 3" in head or b"transfer-encoding: chunked" in head


@pytest.mark.parametrize("status", [204, 304])
def test_a_status_without_body_has_none(status: int) -> None:
    head, body, exchange = respond(b"abc", status=status)
    assert body == b""
    assert not any(line.startswith((b"content-length", b"transfer-encoding")) for line in head)
    assert exchange.keeps_alive


def test_http_1_0_is_told_that_the_connection_stays() -> None:
    head, _, _ = respond(b"abc", is_http_1_0=True)
    assert b"connection: keep-alive" in head


def test_http_1_0_has_no_chunks_and_a_body_in_parts_lasts_until_the_end() -> None:
    head, body, exchange = respond(b"ab", b"c", is_http_1_0=True)
    assert b"connection: close" in head
    assert not any(line.startswith((b"content-length", b"transfer-encoding")) for line in head)
    assert body == b"abc"
    assert not exchange.keeps_alive


def test_the_application_may_close() -> None:
    head, _, exchange = respond(b"abc", fields=[(b"connection", b"Close")])
    assert head.count(b"connection: close") == 1
    assert not exchange.keeps_alive


@pytest.mark.parametrize("value", [b"a\r\nb: c", b"a\nb", b"a\rb"])
def test_a_field_that_would_start_another_line_is_a_bug_and_not_sent(value: bytes) -> None:
    with pytest.raises(ValueError, match="another line"):
        respond(b"abc", fields=[(b"x", value)])


def test_a_response_may_be_replaced_until_its_first_byte() -> None:
    line = FakeLine()
    exchange = Exchange(line, {"method": "GET"}, keeps_alive=True, is_http_1_0=False)

    async def main() -> None:
        await exchange.send({"type": "http.response.start", "status": 200, "headers": []})
        await exchange.send({"type": "http.response.start", "status": 503, "headers": []})
        await exchange.send({"type": "http.response.body", "body": b"a", "more_body": True})
        with pytest.raises(RuntimeError, match="started"):
            await exchange.send({"type": "http.response.start", "status": 500, "headers": []})

    asyncio.run(main())
    assert line.written.count(b"HTTP/1.1 ") == 1
    assert line.written.startswith(b"HTTP/1.1 503 ")


def test_nothing_is_written_for_a_peer_that_is_gone() -> None:
    line = FakeLine()
    exchange = Exchange(line, {"method": "GET"}, keeps_alive=True, is_http_1_0=False)
    exchange.disconnect()

    async def main() -> Any:
        await exchange.send({"type": "http.response.start", "status": 200, "headers": []})
        await exchange.send({"type": "http.response.body", "body": b"a"})
        return await exchange.receive()

    assert asyncio.run(main())["type"] == "http.disconnect"
    assert line.written == b""


def test_the_body_comes_in_parts_then_the_peers_end() -> None:
    exchange = Exchange(FakeLine(), {"method": "POST"}, keeps_alive=True, is_http_1_0=False)

    async def main() -> list[Any]:
        exchange.feed(b"a")
        exchange.feed(b"b")
        first = await exchange.receive()
        waiting = asyncio.ensure_future(exchange.receive())
        await asyncio.sleep(0)
        exchange.end_body()
        second = await waiting
        waiting = asyncio.ensure_future(exchange.receive())
        await asyncio.sleep(0)
        assert not waiting.done()
        exchange.disconnect()
        return [first, second, await waiting]

    first, second, third = asyncio.run(main())
    assert first == {"type": "http.request", "body": b"ab", "more_body": True}
    assert second == {"type": "http.request", "body": b"", "more_body": False}
    assert third == {"type": "http.disconnect"}


def test_continue_is_said_when_the_body_is_wanted_and_only_then() -> None:
    line = FakeLine()
    exchange = Exchange(line, {"method": "POST"}, keeps_alive=True, is_http_1_0=False)
    exchange.waits_for_continue = True

    async def main() -> None:
        exchange.feed(b"a")
        await exchange.receive()
        exchange.end_body()
        await exchange.receive()

    assert line.written == b""
    asyncio.run(main())
    assert line.written == b"HTTP/1.1 100 Continue\r\n\r\n"
