"""Whatever an upstream sends, in whatever pieces: a body or one of our errors, within limits, and no dirty reuse."""

import asyncio
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from time import monotonic
from typing import Any

import pytest
from damage import cut, damaged
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from dujiang.core.errors import AppError, StaleConnection, Unavailable
from dujiang.providers.http import Exchange, Pool, WireLimits

LIMITS = WireLimits(head_bytes=512, header_fields=20, body_bytes=2048, buffered_bytes=64, connections=5)
REQUEST = b"POST /x HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n"


class FakeTransport(asyncio.Transport):
    """Remembers what it was asked; `connection_lost` follows an abort in the loop's next turn, as with a real one."""

    def __init__(self, protocol: Exchange) -> None:
        super().__init__()
        self.protocol = protocol
        self.is_paused = False
        self.is_lost = False
        self._is_closing = False

    def write(self, data: bytes) -> None:
        assert not self._is_closing

    def is_closing(self) -> bool:
        return self._is_closing

    def abort(self) -> None:
        self.lose(None)

    def lose(self, error: Exception | None) -> None:
        if not self._is_closing:
            self._is_closing = True
            asyncio.get_running_loop().call_soon(self._tell, error)

    def _tell(self, error: Exception | None) -> None:
        self.is_lost = True
        self.protocol.connection_lost(error)

    def pause_reading(self) -> None:
        self.is_paused = True

    def resume_reading(self) -> None:
        self.is_paused = False


class FakeDialer:
    def __init__(self) -> None:
        self.transports: list[FakeTransport] = []

    async def connect(self, protocol: Exchange) -> None:
        transport = FakeTransport(protocol)
        self.transports.append(transport)
        protocol.connection_made(transport)


@pytest.fixture(scope="module")
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    with asyncio.Runner() as runner:
        yield runner.get_loop()


@dataclass
class Outcome:
    status: int
    body: bytes | None
    error: AppError | None
    is_reused: bool
    most_buffered: int


async def read_all(exchange: Exchange, *, streams: bool) -> bytes:
    if not streams:
        return await exchange.body()
    await exchange.head()
    received = b""
    while data := await exchange.read():
        received += data
        await asyncio.sleep(0)
    return received


async def play(pieces: list[bytes], *, streams: bool, error: Exception | None = None) -> Outcome:
    """Have an upstream send `pieces` and then close, while a caller reads."""
    dialer = FakeDialer()
    pool = Pool(dialer, LIMITS)
    exchange = await pool.send(REQUEST, 1.0, monotonic() + 60, "its answer")
    caller = asyncio.ensure_future(read_all(exchange, streams=streams))
    await asyncio.sleep(0)
    [transport] = dialer.transports
    most = 0
    for piece in pieces:
        for _ in range(3):
            if transport.is_paused:
                await asyncio.sleep(0)
        if transport.is_closing():
            break
        exchange.data_received(piece)
        most = max(most, sum(map(len, exchange._parts)))
        await asyncio.sleep(0)
    if not caller.done():
        for _ in range(len(pieces) + 5):
            await asyncio.sleep(0)
    if not caller.done():
        transport.lose(error)
    body = failure = None
    try:
        async with asyncio.timeout(5):
            body = await caller
    except AppError as raised:
        failure = raised
    status = exchange.status
    exchange.release()
    is_reused = bool(pool._idle) and pool._idle[0].is_usable
    pool.close()
    for _ in range(3):
        await asyncio.sleep(0)
    assert not pool._open
    assert exchange._timer is None
    return Outcome(status, body, failure, is_reused, most)


@dataclass
class Answer:
    """A proper response, and what must come of it."""

    wire: bytes
    status: int
    body: bytes
    keeps_alive: bool


@st.composite
def answers(draw: st.DrawFn) -> Answer:
    status = draw(st.sampled_from([200, 201, 400, 429, 500, 503]))
    body = draw(st.binary(max_size=300))
    framing = draw(st.sampled_from(["length", "chunked", "close"]))
    has_close = draw(st.booleans())
    is_old = framing != "chunked" and draw(st.booleans())
    fields = draw(
        st.lists(st.sampled_from([b"x-a: b", b"x-empty:", b"set-cookie: \xff\xfe", b"date: now"]), max_size=3)
    )
    wire = b"".join(draw(st.lists(st.sampled_from([b"HTTP/1.1 100 Continue\r\n\r\n", EARLY_HINTS]), max_size=2)))
    wire += b"HTTP/%b %d Whatever\r\n" % (b"1.0" if is_old else b"1.1", status)
    if framing == "length":
        fields.append(b"Content-Length: %d" % len(body))
    elif framing == "chunked":
        fields.append(b"Transfer-Encoding: chunked")
    if has_close:
        fields.append(b"Connection: close")
    wire += b"\r\n".join([*fields, b"", b""])
    wire += _chunked(draw, body) if framing == "chunked" else body
    return Answer(wire, status, body, framing != "close" and not has_close and not is_old)


EARLY_HINTS = b"HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n"


def _chunked(draw: st.DrawFn, body: bytes) -> bytes:
    wire = b""
    for piece in cut(body, draw(st.lists(st.integers(1, 300), max_size=4))):
        if piece:
            wire += b"%x%b\r\n%b\r\n" % (len(piece), draw(st.sampled_from([b"", b";a=b", b";a"])), piece)
    return wire + b"0\r\n" + draw(st.sampled_from([b"", b"x-trailer: y\r\n", b"content-encoding: gzip\r\n"])) + b"\r\n"


cuts = st.lists(st.integers(1, 700), max_size=12)


@given(answers(), cuts, st.booleans())
def test_a_proper_answer_is_read_however_it_is_cut(loop, answer: Answer, at: list[int], streams: bool) -> None:
    outcome = loop.run_until_complete(play(cut(answer.wire, at), streams=streams))
    assert outcome.error is None
    assert (outcome.status, outcome.body) == (answer.status, answer.body)
    assert outcome.is_reused == answer.keeps_alive
    if streams:
        longest = max(len(piece) for piece in cut(answer.wire, at))
        assert outcome.most_buffered <= LIMITS.buffered_bytes + longest


@given(answers(), st.binary(min_size=1, max_size=60), cuts, st.booleans())
@example(Answer(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", 200, b"", True), b"HTTP/1.1 200 OK", [], False)
def test_no_connection_is_used_again_after_more_than_its_answer(
    loop, answer: Answer, more: bytes, at: list[int], streams: bool
) -> None:
    outcome = loop.run_until_complete(play(cut(answer.wire + more, at), streams=streams))
    if answer.keeps_alive:
        assert outcome.body == answer.body
    if more.strip(b"\r\n"):
        assert not outcome.is_reused


@given(answers(), st.integers(0, 1000), cuts, st.booleans(), st.booleans())
def test_a_cut_answer_is_an_error_and_never_a_short_body(
    loop, answer: Answer, kept: int, at: list[int], streams: bool, is_reset: bool
) -> None:
    wire = answer.wire[: kept % len(answer.wire)]
    error = ConnectionResetError() if is_reset else None
    outcome = loop.run_until_complete(play(cut(wire, at), streams=streams, error=error))
    assert not outcome.is_reused
    has_length = b"Content-Length" in answer.wire or b"chunked" in answer.wire
    if has_length or is_reset or b"\r\n\r\n" not in wire:
        if outcome.error is None:  # only what comes after the whole body may be missing
            assert outcome.body == answer.body
        else:
            assert isinstance(outcome.error, Unavailable)
    elif outcome.error is None:
        assert answer.body.startswith(outcome.body)


@settings(max_examples=300)
@given(
    st.binary(max_size=600) | damaged(answers().map(lambda answer: answer.wire), b"HTTP/1.1 101 x\r\n\r\n"),
    cuts,
    st.booleans(),
    st.booleans(),
)
@example(b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\nabc", [], False, False)
@example(b"HTTP/1.1 101 Switching Protocols\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}", [], True, False)
@example(b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\n", [], False, False)
@example(b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", [], False, False)
@example(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n", [], False, False)
def test_no_bytes_break_it(loop, wire: bytes, at: list[int], streams: bool, is_reset: bool) -> None:
    error = ConnectionResetError() if is_reset else None
    outcome = loop.run_until_complete(play(cut(wire, at), streams=streams, error=error))
    assert (outcome.body is None) != (outcome.error is None)


GROWING = {
    "head": (b"HTTP/1.1 200 OK\r\nx: ", b"a" * 100),
    "fields": (b"HTTP/1.1 200 OK\r\n", b"x: y\r\n"),
    "informational": (b"", b"HTTP/1.1 103 Early Hints\r\nlink: y\r\n\r\n"),
    "reason": (b"HTTP/1.1 200 ", b"a" * 100),
    "body": (b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n", b"a" * 100),
    "until close": (b"HTTP/1.1 200 OK\r\n\r\n", b"a" * 100),
    "chunks": (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\na\r\n" * 10),
    "chunk extension": (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1;", b"a" * 100),
    "trailer": (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nx: ", b"a" * 100),
    "trailers": (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n", b"x: y\r\n" * 10),
}


@pytest.mark.parametrize("name", GROWING)
@pytest.mark.parametrize("streams", [False, True])
def test_nothing_grows_without_end(loop, name: str, streams: bool) -> None:
    start, more = GROWING[name]

    async def main() -> None:
        dialer = FakeDialer()
        exchange = await Pool(dialer, LIMITS).send(REQUEST, 1.0, monotonic() + 60, "its answer")
        caller = asyncio.ensure_future(exchange.head() if streams else exchange.body())
        await asyncio.sleep(0)
        [transport] = dialer.transports
        exchange.data_received(start)
        sent = 0
        while sent < 100_000 and not transport.is_closing() and not transport.is_paused:
            exchange.data_received(more)
            sent += len(more)
            if sent % 1000 < len(more):
                await asyncio.sleep(0)
        assert sent < 20_000
        with suppress(AppError):
            await caller
        exchange.release()

    loop.run_until_complete(main())


def test_an_answer_that_broke_a_limit_is_no_answer_even_when_it_is_whole(loop) -> None:
    """The limit and the end come in one piece, before anybody waits for the body."""
    wire = b"HTTP/1.1 500 Oops\r\nContent-Length: 3000\r\n\r\n" + b"a" * 3000

    async def main() -> None:
        exchange = await Pool(FakeDialer(), LIMITS).send(REQUEST, 1.0, monotonic() + 60, "its answer")
        caller = asyncio.ensure_future(exchange.head())
        await asyncio.sleep(0)
        exchange.data_received(wire)
        assert await caller == 500
        with pytest.raises(AppError):
            await exchange.body()
        exchange.release()

    loop.run_until_complete(main())


def lose(exchange: Exchange) -> None:
    """The service closes the connection."""
    transport: Any = exchange._transport
    transport.lose(None)


class PoolMachine(RuleBasedStateMachine):
    """A pool beside a model of it: a stack of idle connections."""

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.dialer = FakeDialer()
        self.pool = Pool(self.dialer, LIMITS)
        self.busy: list[Exchange] = []
        self.idle: list[Exchange] = []  # the model, most recent last
        self.used: set[Exchange] = set()
        self.is_closed = False

    def teardown(self) -> None:
        self.run(self._end())
        self.runner.close()

    async def _end(self) -> None:
        for exchange in self.busy:
            exchange.release()
        self.pool.close()

    def run(self, what):
        async def whole():
            made = await what
            for _ in range(3):
                await asyncio.sleep(0)
            return made

        return self.runner.run(whole())

    async def _send(self) -> Exchange:
        return await self.pool.send(REQUEST, 1.0, monotonic() + 60, "its answer")

    @rule()
    def send(self) -> None:
        dialled = len(self.dialer.transports)
        if not self.idle and len(self.busy) >= LIMITS.connections:
            with pytest.raises(Unavailable):
                self.run(self._send())
            return
        exchange = self.run(self._send())
        assert exchange not in self.busy
        if self.idle:
            assert exchange is self.idle.pop()
            assert len(self.dialer.transports) == dialled
        else:
            assert len(self.dialer.transports) == dialled + 1
        self.busy.append(exchange)

    @precondition(lambda self: self.busy)
    @rule(data=st.data(), is_clean=st.booleans())
    def answer(self, data: st.DataObject, is_clean: bool) -> None:
        exchange = self.busy.pop(data.draw(st.integers(0, len(self.busy) - 1)))
        more = b"" if is_clean else b"HTTP"

        async def finish() -> None:
            exchange.data_received(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}" + more)
            assert await exchange.body() == b"{}"
            exchange.release()
            exchange.release()

        self.run(finish())
        self.used.add(exchange)
        if is_clean and not self.is_closed:
            self.idle.append(exchange)

    @precondition(lambda self: self.busy)
    @rule(data=st.data(), start=st.sampled_from([b"", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n", b"nonsense"]))
    def give_up(self, data: st.DataObject, start: bytes) -> None:
        exchange = self.busy.pop(data.draw(st.integers(0, len(self.busy) - 1)))

        async def leave() -> None:
            exchange.data_received(start)
            exchange.release()

        self.run(leave())
        assert not exchange.is_usable

    @precondition(lambda self: self.busy)
    @rule(data=st.data())
    def lose_busy(self, data: st.DataObject) -> None:
        """The service closes instead of answering: stale where the connection had been used, else unavailable."""
        exchange = self.busy.pop(data.draw(st.integers(0, len(self.busy) - 1)))

        async def wait() -> type[AppError]:
            lose(exchange)
            try:
                await exchange.body()
            except AppError as error:
                return type(error)
            finally:
                exchange.release()
            raise AssertionError("there was no answer")

        is_stale = exchange in self.used
        assert self.run(wait()) is (StaleConnection if is_stale else Unavailable)
        if is_stale:
            self.idle.clear()

    @precondition(lambda self: self.idle)
    @rule(data=st.data(), how=st.sampled_from(["close", "bytes", "age"]))
    def spoil_idle(self, data: st.DataObject, how: str) -> None:
        at = data.draw(st.integers(0, len(self.idle) - 1))

        async def spoil() -> None:
            if how == "close":
                lose(self.idle[at])
            elif how == "bytes":
                self.idle[at].data_received(b"HTTP/1.1 408 Request Timeout\r\n\r\n")
            else:
                for exchange in self.idle[: at + 1]:
                    exchange.idle_since -= LIMITS.keep_alive_s + 1

        self.run(spoil())
        del self.idle[0 if how == "age" else at : at + 1]

    @rule()
    def close(self) -> None:
        self.run(self._close())
        self.is_closed = True
        self.idle.clear()

    async def _close(self) -> None:
        self.pool.close()

    @invariant()
    def open_connections_are_those_that_are_open(self) -> None:
        alive = {transport.protocol for transport in self.dialer.transports if not transport.is_lost}
        assert self.pool._open == alive
        assert set(self.busy) | set(self.idle) <= alive


TestPool = PoolMachine.TestCase
TestPool.settings = settings(max_examples=60, stateful_step_count=30)


def test_a_service_that_closes_after_a_while_is_not_asked_again(loop) -> None:
    """It may have been at work on the request, and will bill it: only what shows at once was a stale connection."""

    async def main(pause_s: float) -> type[AppError]:
        pool = Pool(FakeDialer(), LIMITS)
        exchange = await pool.send(REQUEST, 1.0, monotonic() + 60, "its answer")
        exchange.data_received(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        exchange.release()
        exchange = await pool.send(REQUEST, 1.0, monotonic() + 60, "its answer")
        exchange.reused_at -= pause_s
        lose(exchange)
        try:
            await exchange.body()
        except AppError as error:
            return type(error)
        finally:
            exchange.release()
        raise AssertionError("there was no answer")

    assert loop.run_until_complete(main(0)) is StaleConnection
    assert loop.run_until_complete(main(2)) is Unavailable
