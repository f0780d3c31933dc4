"""The upstream client against real sockets: what it reuses, what it refuses, when it gives up."""

import asyncio
from collections.abc import Awaitable, Callable
from time import monotonic
from typing import Self

import pytest

from dujiang.core.errors import Misconfigured, StaleConnection, Timeout, Unavailable, UpstreamError
from dujiang.providers.connect import DirectDialer, Origin
from dujiang.providers.http import Exchange, Pool, WireLimits

Script = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]

REQUEST = b"POST /v1/x HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\n{}"
OK = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}"


async def read_request(reader: asyncio.StreamReader) -> bool:
    try:
        await reader.readuntil(b"\r\n\r\n{}")
    except asyncio.IncompleteReadError:
        return False
    return True


class Service:
    """A loopback service that answers each request by a script and counts connections."""

    def __init__(self, script: Script) -> None:
        self._script = script
        self.connections = 0
        self.closed = asyncio.Event()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while await read_request(reader):
                await self._script(reader, writer)
                if writer.is_closing():
                    break
        except (ConnectionError, asyncio.CancelledError):
            pass
        finally:
            self.closed.set()
            writer.close()

    def pool(self, **limits: float) -> Pool:
        origin = Origin("http", "127.0.0.1", self.port, allow_private_network=True)
        return Pool(DirectDialer(origin, None), WireLimits(**limits))


def answering(*writes: bytes, close: bool = False, pause_s: float = 0.0) -> Script:
    async def script(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for data in writes:
            writer.write(data)
            await writer.drain()
            await asyncio.sleep(pause_s)
        if close:
            writer.close()

    return script


async def send(pool: Pool, total_s: float = 5.0) -> Exchange:
    return await pool.send(REQUEST, 1.0, monotonic() + total_s, "its answer")


async def whole(pool: Pool, total_s: float = 5.0) -> tuple[int, bytes]:
    exchange = await send(pool, total_s)
    try:
        body = await exchange.body()
        return exchange.status, body
    finally:
        exchange.release()


def run(script: Script, use: Callable[[Service], Awaitable[None]]) -> None:
    async def main() -> None:
        async with Service(script) as service:
            await use(service)
        for _ in range(3):
            await asyncio.sleep(0)

    asyncio.run(main())


def test_a_connection_is_reused_after_a_whole_answer() -> None:
    async def use(service: Service) -> None:
        pool = service.pool()
        for _ in range(3):
            assert await whole(pool) == (200, b"{}")
        assert service.connections == 1
        pool.close()

    run(answering(OK), use)


@pytest.mark.parametrize(
    ("writes", "close", "expected"),
    [
        ((b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",), False, b"{}"),
        ((b"HTTP/1.1 200 OK\r\n\r\n", b"until ", b"close"), True, b"until close"),
        (tuple(OK[n : n + 1] for n in range(len(OK))), False, b"{}"),
        ((b"HTTP/1.1 100 Continue\r\n\r\n", OK), False, b"{}"),
        ((b"HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n" + OK,), False, b"{}"),
    ],
    ids=["chunked", "until close", "byte by byte", "continue", "early hints"],
)
def test_every_way_to_frame_a_body(writes: tuple[bytes, ...], close: bool, expected: bytes) -> None:
    async def use(service: Service) -> None:
        pool = service.pool()
        assert await whole(pool) == (200, expected)
        pool.close()

    run(answering(*writes, close=close), use)


@pytest.mark.parametrize(
    ("writes", "close", "error"),
    [
        ((), True, Unavailable),
        ((b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf",), True, Unavailable),
        ((b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{}\r\n",), True, Unavailable),
        ((b"SSH-2.0-OpenSSH_9.2\r\n",), False, UpstreamError),
        ((b"HTTP/1.1 200 OK\r\nx: " + b"a" * 5000 + b"\r\n\r\n",), False, UpstreamError),
        ((b"HTTP/1.1 200 OK\r\n" + b"x: y\r\n" * 50 + b"\r\n",), False, UpstreamError),
        ((b"HTTP/1.1 200 OK\r\ncontent-length: 20000\r\n\r\n" + b"a" * 20000,), False, UpstreamError),
        ((b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\n{}",), False, UpstreamError),
    ],
    ids=["nothing", "short", "cut chunks", "not HTTP", "long head", "many fields", "long body", "two lengths"],
)
def test_what_is_not_an_answer_is_an_error(writes: tuple[bytes, ...], close: bool, error: type[UpstreamError]) -> None:
    async def use(service: Service) -> None:
        pool = service.pool(head_bytes=4096, header_fields=40, body_bytes=10_000)
        with pytest.raises(error):
            await whole(pool)
        async with asyncio.timeout(5):
            await service.closed.wait()

    run(answering(*writes, close=close), use)


def test_a_stale_connection_is_told_apart_and_the_next_try_dials_anew() -> None:
    async def use(service: Service) -> None:
        pool = service.pool()
        assert await whole(pool) == (200, b"{}")
        exchange = pool._idle[0]
        exchange._is_closed = False
        with pytest.raises(StaleConnection):
            await whole(pool)
        assert await whole(pool) == (200, b"{}")
        assert service.connections == 2

    calls = 0

    async def script(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal calls
        calls += 1
        if calls == 2:
            writer.close()
        else:
            writer.write(OK)

    run(script, use)


def test_bytes_on_an_idle_connection_close_it() -> None:
    async def use(service: Service) -> None:
        pool = service.pool()
        assert await whole(pool) == (200, b"{}")
        await asyncio.sleep(0.05)
        assert await whole(pool) == (200, b"{}")
        assert service.connections == 2

    async def script(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(OK)
        await asyncio.sleep(0.01)
        writer.write(b"HTTP/1.1 200 OK\r\n")

    run(script, use)


def test_an_answer_with_trailing_bytes_is_not_reused() -> None:
    async def use(service: Service) -> None:
        pool = service.pool()
        assert await whole(pool) == (200, b"{}")
        assert await whole(pool) == (200, b"{}")
        assert service.connections == 2

    run(answering(OK + b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil"), use)


def test_silence_is_a_timeout_and_closes_the_connection() -> None:
    async def use(service: Service) -> None:
        with pytest.raises(Timeout):
            await whole(service.pool(), total_s=0.05)
        async with asyncio.timeout(5):
            await service.closed.wait()

    async def script(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        await reader.read()

    run(script, use)


def test_cancelling_a_call_closes_the_connection() -> None:
    async def use(service: Service) -> None:
        task = asyncio.create_task(whole(service.pool()))
        await asyncio.sleep(0.05)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        async with asyncio.timeout(5):
            await service.closed.wait()

    async def script(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        await reader.read()

    run(script, use)


def test_a_slow_reader_holds_the_service_back() -> None:
    sent = 0

    async def use(service: Service) -> None:
        exchange = await send(service.pool())
        assert await exchange.head() == 200
        await asyncio.sleep(0.3)
        held = sent
        await asyncio.sleep(0.2)
        assert sent == held < 64 * 1024 * 1024
        received = 0
        while data := await exchange.read():
            received += len(data)
            if received > held:
                break
        assert received > held
        exchange.release()

    async def script(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        block = b"a" * 65536
        while True:
            writer.write(block)
            await writer.drain()
            sent += len(block)

    run(script, use)


def test_nobody_there_is_unavailable() -> None:
    async def main() -> None:
        origin = Origin("http", "127.0.0.1", 1, allow_private_network=True)
        with pytest.raises(Unavailable):
            await whole(Pool(DirectDialer(origin, None)))

    asyncio.run(main())


def test_a_private_address_is_refused_at_connect() -> None:
    async def main() -> None:
        origin = Origin("http", "localhost", 80)
        with pytest.raises(Misconfigured, match="allow_private_network"):
            await whole(Pool(DirectDialer(origin, None)))

    asyncio.run(main())
