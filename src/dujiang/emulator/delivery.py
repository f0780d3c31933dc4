"""From what a call is to get, to the steps that write it: pace, framing and, where the script wants one, a fault."""

from collections.abc import Iterator
from itertools import chain

from msgspec import Struct

from dujiang.emulator import wire
from dujiang.emulator.behaviour import Behaviour
from dujiang.emulator.dialect import DEFAULT_CHUNKS, Allowance, Answer, Ask, Dialect, Request, Stream
from dujiang.emulator.wire import Signal, Step

SSE = b"text/event-stream; charset=utf-8"

_KEEP_ALIVE_S = 0.1
_QUEUED_S = 0.25
_HEADER_LINE_S = 0.2


class Exchange(Struct, frozen=True):
    """One call and all that decides its answer."""

    request: Request
    dialect: Dialect
    ask: Ask
    behaviour: Behaviour
    allowance: Allowance

    def answer(self) -> Answer:
        return self.ask.whole(self.behaviour, self.allowance)

    def stream(self) -> Stream:
        return self.ask.stream(self.behaviour, self.allowance)

    def failure(self) -> Answer:
        """The vendor's error that the behaviour names, with what it says about coming back."""
        behaviour = self.behaviour
        answer = self.dialect.failure(behaviour.error, behaviour.status, self.ask.model, self.allowance)
        lines = answer.headers
        for name, value in ((b"Retry-After", behaviour.retry_after), (b"retry-after-ms", behaviour.retry_after_ms)):
            if value is not None:
                lines += b"%b: %b\r\n" % (name, value.encode())
        return Answer(answer.body, answer.status, lines, answer.content_type)

    @property
    def closing_line(self) -> bytes:
        """The header line for a connection that ends with this answer."""
        return b"" if self.request.keeps_alive else wire.CLOSE

    @property
    def interval_s(self) -> float:
        return self.behaviour.chunk_interval_ms / 1000

    @property
    def completes(self) -> bool:
        """Whether the caller gets a whole good answer."""
        return not self.behaviour.has_failure

    @property
    def wants_events(self) -> bool:
        return self.ask.is_stream and not self.behaviour.is_json_only


def good_steps(exchange: Exchange) -> Iterator[Step]:
    """The steps of a good answer, in the form that was asked for."""
    steps = stream_steps(exchange) if exchange.wants_events else whole_steps(exchange)
    return wire.drip(steps, exchange.interval_s) if exchange.behaviour.drips else steps


def answer_steps(exchange: Exchange, answer: Answer) -> Iterator[Step]:
    """The steps of an answer whose length is told, written at once unless its head is slow."""
    lines = answer.headers + wire.length(answer.body) + exchange.closing_line
    head = wire.head(answer.status, answer.content_type, lines)
    if exchange.behaviour.has_slow_headers:
        return chain(head_steps(exchange, head), (answer.body,))
    return iter((head + answer.body,))


def whole_steps(exchange: Exchange) -> Iterator[Step]:
    """A whole answer takes as long as its stream would."""
    behaviour = exchange.behaviour
    wait_s = generation_s(behaviour)
    if behaviour.splits_utf8 or behaviour.has_blank_lines:
        return _in_pieces(exchange, wait_s)
    answered = answer_steps(exchange, exchange.answer())
    return chain((wait_s,), answered) if wait_s else answered


def stream_steps(exchange: Exchange) -> Iterator[Step]:
    """A stream to its end: chunked, or up to the close of the connection for HTTP/1.0."""
    stream, behaviour = exchange.stream(), exchange.behaviour
    body = events(stream, exchange)
    if behaviour.splits_utf8:
        body = wire.split_within_characters(body)
    if exchange.request.is_http_10:
        yield from open_stream(exchange, stream, wire.CLOSE)
        yield from wire.joined(body)
        yield Signal.CLOSE
        return
    yield from open_stream(exchange, stream, wire.CHUNKED + exchange.closing_line)
    yield from wire.joined(wire.chunked(body))
    yield wire.LAST_CHUNK


def open_stream(exchange: Exchange, stream: Stream, lines: bytes) -> Iterator[Step]:
    """The head of a stream; `lines` say how its body is delimited."""
    head = wire.head(200, SSE, stream.headers + b"Cache-Control: no-cache\r\n" + lines)
    yield from head_steps(exchange, head)
    yield Signal.OPEN_STREAM


def head_steps(exchange: Exchange, head: bytes) -> Iterator[Step]:
    if exchange.behaviour.has_slow_headers:
        yield from wire.line_by_line(head, exchange.interval_s or _HEADER_LINE_S)
    else:
        yield head


def events(stream: Stream, exchange: Exchange) -> Iterator[Step]:
    """The body of a stream, before any transfer coding, at its pace."""
    behaviour, interval_s = exchange.behaviour, exchange.interval_s
    line_end = b"\r\n" if behaviour.has_crlf else b"\n"
    space = b"" if behaviour.has_no_space else b" "
    yield from _before_first_token(behaviour, line_end)
    for payload in stream.opening:
        yield wire.event(payload, space, line_end)
    for index, payload in enumerate(stream.content):
        if index and interval_s:
            yield interval_s
        yield wire.event(payload, space, line_end)
    for payload in stream.closing:
        yield wire.event(payload, space, line_end)
    if stream.line:
        yield stream.line + line_end
    if stream.terminator is not None and not behaviour.has_no_done:
        yield wire.event(stream.terminator, space, line_end)


def generation_s(behaviour: Behaviour) -> float:
    """How long a model would take for the answer, from first token to last."""
    intervals = (behaviour.chunks or DEFAULT_CHUNKS) - 1
    return (behaviour.ttft_ms + intervals * behaviour.chunk_interval_ms) / 1000


def _before_first_token(behaviour: Behaviour, line_end: bytes) -> Iterator[Step]:
    """The wait for the first token: silent, or with the signs of life of a vendor whose queue is long."""
    wait_s = behaviour.ttft_ms / 1000
    sign = b": keep-alive" + line_end * 2 if behaviour.has_comments else line_end if behaviour.has_blank_lines else b""
    if sign:
        yield from _repeated(sign, wait_s or _QUEUED_S)
    elif wait_s:
        yield wait_s


def _in_pieces(exchange: Exchange, wait_s: float) -> Iterator[Step]:
    """A whole answer without a length: blank lines while it is made, or cut inside its characters."""
    answer, behaviour = exchange.answer(), exchange.behaviour
    lines = answer.headers + wire.CHUNKED + exchange.closing_line
    if not behaviour.has_blank_lines and wait_s:
        yield wait_s
    yield from head_steps(exchange, wire.head(answer.status, answer.content_type, lines))
    if behaviour.has_blank_lines:
        yield from wire.chunked(_repeated(b"\n", wait_s or _QUEUED_S))
    body: Iterator[Step] = iter((answer.body,))
    yield from wire.chunked(wire.split_within_characters(body) if behaviour.splits_utf8 else body)
    yield wire.LAST_CHUNK


def _repeated(sign: bytes, total_s: float) -> Iterator[Step]:
    """Write a sign at once and then every 100 ms."""
    while total_s > 0:
        yield sign
        yield min(total_s, _KEEP_ALIVE_S)
        total_s -= _KEEP_ALIVE_S
