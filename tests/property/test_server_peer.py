"""Whatever a peer sends, in whatever pieces: the same answers in the same order, or a refusal and the end."""

import asyncio
import logging
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest
from damage import cut, damaged
from hypothesis import example, given, settings
from hypothesis import strategies as st

from dujiang.server.peer import Peer, PeerLimits

LIMITS = PeerLimits(head_bytes=1024, header_fields=20)


class FakeTransport(asyncio.Transport):
    """Collects what is written; after the end of writing nothing more may come."""

    def __init__(self, peer: Peer) -> None:
        super().__init__()
        self.peer = peer
        self.written = b""
        self.is_paused = False
        self.has_eof = False
        self._is_closing = False

    def get_extra_info(self, name: str, default: object = None) -> object:
        return ("127.0.0.1", 1)

    def write(self, data: bytes) -> None:
        assert not self.has_eof, "Cannot call write() after write_eof()"
        if not self._is_closing:
            self.written += data

    def write_eof(self) -> None:
        self.has_eof = True

    def is_closing(self) -> bool:
        return self._is_closing

    def close(self) -> None:
        if not self._is_closing:
            self._is_closing = True
            asyncio.get_running_loop().call_soon(self.peer.connection_lost, None)

    abort = close

    def pause_reading(self) -> None:
        assert not self.is_paused
        self.is_paused = True

    def resume_reading(self) -> None:
        assert self.is_paused
        self.is_paused = False


@dataclass
class Application:
    """Answers with what it was asked; remembers the most that waited unread."""

    asked: list[tuple[str, str, bytes, bytes]] = field(default_factory=list)
    gone: int = 0

    async def __call__(self, scope, receive, send) -> None:
        body = b""
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                self.gone += 1
                return
            body += message["body"]
            if not message["more_body"]:
                break
        self.asked.append((scope["method"], scope["path"], scope["query_string"], body))
        await asyncio.sleep(0)
        answer = b"%b %b %b" % (scope["method"].encode(), scope["raw_path"], body)
        await send(
            {"type": "http.response.start", "status": 200, "headers": [(b"x-fields", b"%d" % len(scope["headers"]))]}
        )
        if scope["query_string"] == b"stream":
            for n in range(len(answer)):
                await send({"type": "http.response.body", "body": answer[n : n + 1], "more_body": True})
            answer = b""
        await send({"type": "http.response.body", "body": answer})


@dataclass
class Outcome:
    written: bytes
    application: Application
    is_over: bool

    @property
    def responses(self) -> list[tuple[int, bytes]]:
        return parsed(self.written)


def parsed(wire: bytes) -> list[tuple[int, bytes]]:
    """The responses in a byte stream: status and body. Fails on what is not whole."""
    found = []
    while wire:
        head, separator, wire = wire.partition(b"\r\n\r\n")
        assert separator
        status, *fields = head.split(b"\r\n")
        headers = dict(line.lower().split(b": ", 1) for line in fields)
        if headers.get(b"transfer-encoding") == b"chunked":
            body = b""
            while True:
                size, _, wire = wire.partition(b"\r\n")
                piece, wire = wire[: int(size, 16)], wire[int(size, 16) + 2 :]
                body += piece
                if not piece:
                    break
        elif b"content-length" in headers:
            length = int(headers[b"content-length"])
            body, wire = wire[:length], wire[length:]
            assert len(body) == length
        else:
            assert headers[b"connection"] == b"close"
            body, wire = wire, b""
        found.append((int(status.split()[1]), body))
    return found


async def play(pieces: list[bytes]) -> Outcome:
    loop = asyncio.get_running_loop()
    application = Application()
    peer = Peer(application, set(), LIMITS, b"date: now\r\n", loop)
    transport = FakeTransport(peer)
    peer.connection_made(transport)
    for piece in pieces:
        for _ in range(1000):
            if not transport.is_paused:
                break
            await asyncio.sleep(0)
        if transport.is_closing():
            break
        peer.data_received(piece)
        await asyncio.sleep(0)
    for _ in range(2000):
        await asyncio.sleep(0)
        if peer._exchange is None or (peer._exchange.has_body_to_come and not peer._queue):
            break
    await asyncio.sleep(0)
    is_over = transport.has_eof or transport.is_closing()
    written = transport.written
    transport.abort()
    for _ in range(3):
        await asyncio.sleep(0)
    assert [task for task in asyncio.all_tasks(loop) if task is not asyncio.current_task()] == []
    return Outcome(written, application, is_over)


@pytest.fixture(scope="module")
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    with asyncio.Runner() as runner:
        yield runner.get_loop()


@dataclass
class Request:
    wire: bytes
    answer: bytes


@st.composite
def requests(draw: st.DrawFn) -> Request:
    method = draw(st.sampled_from([b"GET", b"POST", b"PUT"]))
    path = draw(st.sampled_from([b"/", b"/a", b"/a%2Fb", b"/%e4%bd%a0", b"http://h/abs"]))
    query = draw(st.sampled_from([b"", b"?", b"?stream", b"?x=%00"]))
    body = draw(st.binary(max_size=200)) if method != b"GET" else b""
    fields = [b"Host: h", *draw(st.lists(st.sampled_from([b"X: y", b"X-Empty:", b"X-Bytes: \xff"]), max_size=3))]
    if draw(st.booleans()):
        fields += [b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c", b"HTTP2-Settings: AAMAAABk"]
    if method != b"GET":
        is_chunked = draw(st.booleans())
        fields.append(b"Transfer-Encoding: chunked" if is_chunked else b"Content-Length: %d" % len(body))
    else:
        is_chunked = False
    wire = b"%b %b%b HTTP/1.1\r\n%b\r\n\r\n" % (method, path, query, b"\r\n".join(fields))
    wire += _chunked(draw, body) if is_chunked else body
    raw_path = b"/abs" if path.startswith(b"http:") else path
    return Request(wire, b"%b %b %b" % (method, raw_path, body))


def _chunked(draw: st.DrawFn, body: bytes) -> bytes:
    wire = b""
    for piece in cut(body, draw(st.lists(st.integers(1, 200), max_size=4))):
        if piece:
            wire += b"%x\r\n%b\r\n" % (len(piece), piece)
    return wire + b"0\r\n" + draw(st.sampled_from([b"", b"X-Trailer: y\r\n", b"Authorization: Bearer z\r\n"])) + b"\r\n"


def in_a_row(asked: list[Request]) -> bytes:
    return b"".join(request.wire for request in asked)


cuts = st.lists(st.integers(1, 1500), max_size=15)


@given(st.lists(requests(), max_size=5), cuts)
def test_proper_requests_are_answered_in_order_however_they_are_cut(loop, asked: list[Request], at: list[int]) -> None:
    outcome = loop.run_until_complete(play(cut(in_a_row(asked), at)))
    assert outcome.responses == [(200, request.answer) for request in asked]
    assert not outcome.is_over


@given(st.lists(requests(), max_size=3), st.sampled_from([b"NONSENSE\r\n\r\n", b"GET / HTTP/1.1\r\n\r\n", b"\0"]), cuts)
def test_what_came_before_nonsense_is_answered_first(loop, asked: list[Request], end: bytes, at: list[int]) -> None:
    outcome = loop.run_until_complete(play(cut(in_a_row(asked) + end, at)))
    assert outcome.responses == [*((200, request.answer) for request in asked), (400, b"")]
    assert outcome.is_over


@given(st.lists(requests(), max_size=2), st.sampled_from([b"zz\r\n", b"3\r\nabcX", b"0\r\nX y\r\n\r\n", b"1\n"]), cuts)
def test_a_broken_body_ends_its_own_request(loop, asked: list[Request], end: bytes, at: list[int]) -> None:
    broken = b"POST /broken HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n" + end
    outcome = loop.run_until_complete(play(cut(in_a_row(asked) + broken, at)))
    assert outcome.responses == [*((200, request.answer) for request in asked), (400, b"")]
    assert "/broken" not in [path for _, path, _, _ in outcome.application.asked]
    assert outcome.is_over


@given(requests(), st.lists(requests(), max_size=2), cuts)
def test_nothing_is_answered_after_the_peer_said_close(
    loop, first: Request, more: list[Request], at: list[int]
) -> None:
    last = b"GET /last HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"
    wire = first.wire + last + in_a_row(more)
    outcome = loop.run_until_complete(play(cut(wire, at)))
    assert outcome.responses == [(200, first.answer), (200, b"GET /last ")]
    assert outcome.is_over


@settings(max_examples=300)
@given(
    st.binary(max_size=400)
    | damaged(st.lists(requests(), min_size=1, max_size=3).map(in_a_row), b"CONNECT a:1 HTTP/1.1\r\n"),
    cuts,
)
@example(b"CONNECT a:443 HTTP/1.1\r\nHost: a\r\n\r\nabc", [])
@example(b"CONNECT /x HTTP/1.1\r\nHost: a\r\n\r\nabc", [])
@example(b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", [])
@example(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", [])
def test_no_bytes_break_it(loop, wire: bytes, at: list[int]) -> None:
    with logged() as errors:
        outcome = loop.run_until_complete(play(cut(wire, at)))
    assert errors == []
    *before, last = [status for status, _ in outcome.responses] or [200]
    assert set(before) <= {200}
    assert last == 200 or (last in (400, 431) and outcome.is_over)


class logged:  # noqa: N801 - reads as a statement
    """The errors that are logged within a block."""

    def __enter__(self) -> list[str]:
        self.records: list[str] = []
        self.handler = logging.Handler(logging.ERROR)
        self.handler.emit = lambda record: self.records.append(record.getMessage())
        logging.getLogger("dujiang.server").addHandler(self.handler)
        return self.records

    def __exit__(self, *_: object) -> None:
        logging.getLogger("dujiang.server").removeHandler(self.handler)


SMUGGLING = {
    "length and chunked": b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "chunked and length": b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
    "chunked twice": b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "chunked, identity": b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
    "identity": b"Transfer-Encoding: identity\r\nContent-Length: 5\r\n\r\nabcde",
    "xchunked": b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "chunked with a tail": b"Transfer-Encoding: chunked;q=1\r\n\r\n0\r\n\r\n",
    "chunked in quotes": b'Transfer-Encoding: "chunked"\r\n\r\n0\r\n\r\n',
    "space before the colon": b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
    "tab before the colon": b"Content-Length\t: 5\r\n\r\nabcde",
    "space before the name": b" Content-Length: 5\r\n\r\nabcde",
    "folded": b"X: a\r\n Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "folded length": b"Content-Length:\r\n 5\r\n\r\nabcde",
    "vertical tab": b"Transfer-Encoding:\x0bchunked\r\n\r\n0\r\n\r\n",
    "NUL": b"Content-Length: 5\0\r\n\r\nabcde",
    "length twice": b"Content-Length: 5\r\nContent-Length: 5\r\n\r\nabcde",
    "two lengths": b"Content-Length: 5\r\nContent-Length: 0\r\n\r\nabcde",
    "length in a list": b"Content-Length: 5, 5\r\n\r\nabcde",
    "length with a sign": b"Content-Length: +5\r\n\r\nabcde",
    "negative length": b"Content-Length: -5\r\n\r\nabcde",
    "length in hex": b"Content-Length: 0x5\r\n\r\nabcde",
    "length with an underscore": b"Content-Length: 0_5\r\n\r\nabcde",
    "length in other digits": "Content-Length: ５\r\n\r\nabcde".encode(),
    "no length": b"Content-Length:\r\n\r\nabcde",
    "length too large": b"Content-Length: 99999999999999999999\r\n\r\nabcde",
    "bare line feed": b"X: a\nContent-Length: 5\r\n\r\nabcde",
    "bare carriage return": b"X: a\rContent-Length: 5\r\n\r\nabcde",
    "head ends in line feeds": b"Content-Length: 5\n\nabcde",
    "chunk size with a sign": b"Transfer-Encoding: chunked\r\n\r\n+5\r\nabcde\r\n0\r\n\r\n",
    "chunk size in hex form": b"Transfer-Encoding: chunked\r\n\r\n0x5\r\nabcde\r\n0\r\n\r\n",
    "chunk size with a space": b"Transfer-Encoding: chunked\r\n\r\n5 \r\nabcde\r\n0\r\n\r\n",
    "chunk size too large": b"Transfer-Encoding: chunked\r\n\r\n10000000000000005\r\nabcde\r\n0\r\n\r\n",
    "chunk line ends in a line feed": b"Transfer-Encoding: chunked\r\n\r\n5\nabcde\r\n0\r\n\r\n",
    "chunk data ends in a line feed": b"Transfer-Encoding: chunked\r\n\r\n5\r\nabcde\n0\r\n\r\n",
    "extension with a line feed": b"Transfer-Encoding: chunked\r\n\r\n5;a\nb\r\nabcde\r\n0\r\n\r\n",
    "chunk longer than it says": b"Transfer-Encoding: chunked\r\n\r\n4\r\nabcde\r\n0\r\n\r\n",
    "trailer without a colon": b"Transfer-Encoding: chunked\r\n\r\n0\r\nX\r\n\r\n",
    "two hosts": b"Host: other\r\nContent-Length: 5\r\n\r\nabcde",
}


@pytest.mark.parametrize("name", SMUGGLING)
@pytest.mark.parametrize("pieces", ["whole", "bytes"])
def test_what_two_readers_might_read_differently_is_refused(loop, name: str, pieces: str) -> None:
    wire = b"POST /smuggled HTTP/1.1\r\nHost: h\r\n" + SMUGGLING[name]
    following = b"GET /hidden HTTP/1.1\r\nHost: h\r\n\r\n"
    wire += following
    outcome = loop.run_until_complete(
        play([wire] if pieces == "whole" else [wire[n : n + 1] for n in range(len(wire))])
    )
    assert outcome.responses == [(400, b"")]
    assert outcome.application.asked == []
    assert outcome.is_over


@pytest.mark.parametrize(
    "line",
    [
        b"GET\t/ HTTP/1.1",
        b"GET /a b HTTP/1.1",
        b"GET / http/1.1",
        b"GET / HTTP/1.2",
        b"GET / HTTP/11",
        b"GET / HTTP/1.1 ",
        b"get / HTTP/1.1",
        b"G\0T / HTTP/1.1",
        b"GET /\r HTTP/1.1",
        b"GET /\xe4 HTTP/1.1",
        b"GET a HTTP/1.1",
        b"GET ../a HTTP/1.1",
        b"CONNECT a:443 HTTP/1.1",
    ],
)
def test_a_request_line_that_is_none_is_refused(loop, line: bytes) -> None:
    outcome = loop.run_until_complete(play([line + b"\r\nHost: h\r\n\r\n"]))
    assert outcome.responses == [(400, b"")]
    assert outcome.application.asked == []


def test_http_1_0_with_chunks_is_refused(loop) -> None:
    wire = b"POST / HTTP/1.0\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
    assert loop.run_until_complete(play([wire])).responses == [(400, b"")]


def test_a_trailer_is_no_header(loop) -> None:
    wire = b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nAuthorization: Bearer x\r\n\r\n"
    assert b"x-fields: 2\r\n" in loop.run_until_complete(play([wire[:70], wire[70:]])).written


GROWING = {
    "a path": (b"GET /", b"a" * 100, 431),
    "a query": (b"GET /?", b"a" * 100, 431),
    "a field": (b"GET / HTTP/1.1\r\nHost: h\r\nX: ", b"a" * 100, 431),
    "a name": (b"GET / HTTP/1.1\r\nHost: h\r\n", b"a" * 100, 431),
    "fields": (b"GET / HTTP/1.1\r\nHost: h\r\n", b"X: y\r\n", 431),
    "blank lines": (b"", b"\r\n" * 50, 431),
    "a chunk's extension": (b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n1;", b"a" * 100, 431),
    "a trailer": (b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX: ", b"a" * 100, 431),
    "trailers": (b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n", b"X: y\r\n" * 20, 431),
}


@pytest.mark.parametrize("name", GROWING)
def test_nothing_grows_without_end(loop, name: str) -> None:
    start, more, status = GROWING[name]

    async def main() -> None:
        peer = Peer(Application(), set(), LIMITS, b"date: now\r\n", asyncio.get_running_loop())
        transport = FakeTransport(peer)
        peer.connection_made(transport)
        peer.data_received(start)
        sent = 0
        while sent < 100_000 and not transport.has_eof:
            peer.data_received(more)
            sent += len(more)
            await asyncio.sleep(0)
        assert sent < 10_000
        assert parsed(transport.written)[-1] == (status, b"")
        transport.abort()
        await asyncio.sleep(0)

    loop.run_until_complete(main())


def test_a_body_that_nobody_reads_holds_the_peer_back(loop) -> None:
    async def never(scope, receive, send) -> None:
        await asyncio.sleep(60)

    async def main() -> None:
        peer = Peer(never, set(), LIMITS, b"date: now\r\n", asyncio.get_running_loop())
        transport = FakeTransport(peer)
        peer.connection_made(transport)
        peer.data_received(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 100000000\r\n\r\n")
        sent = 0
        while not transport.is_paused and sent < 10_000_000:
            peer.data_received(b"a" * 10_000)
            sent += 10_000
        assert sent < 200_000
        peer._task.cancel()
        transport.abort()
        await asyncio.sleep(0)

    loop.run_until_complete(main())


def test_thousands_of_pipelined_requests_in_one_piece_are_all_answered(loop) -> None:
    one = b"GET / HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n"
    outcome = loop.run_until_complete(play([one * 300]))
    assert [status for status, _ in outcome.responses] == [200] * 300
