"""Ways of breaking an answer. Each fault turns an exchange into the steps that go wrong."""

import gzip
import json
import zlib
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from itertools import chain

from msgspec.structs import replace

from dujiang.emulator import wire
from dujiang.emulator.delivery import SSE, Exchange, answer_steps, events, generation_s, good_steps, open_stream
from dujiang.emulator.dialect import Answer, Stream
from dujiang.emulator.wire import Signal, Step

OVERSIZE_BYTES = 16 * 2**20
DEPTH = 100_000
BOMB_MEBIBYTES = 256
_LENGTH_LIE = 10
_SETTLE_S = 0.02

Fault = Callable[[Exchange], Iterator[Step]]


def steps(exchange: Exchange) -> Iterator[Step]:
    """All steps of a call's answer, good or broken."""
    behaviour = exchange.behaviour
    if behaviour.fault is not None:
        answered = FAULTS[behaviour.fault.name](exchange)
    elif behaviour.has_error:
        answered = answer_steps(exchange, exchange.failure())
    else:
        answered = good_steps(exchange)
    return chain((behaviour.latency_ms / 1000,), answered) if behaviour.latency_ms else answered


def _hang(_: Exchange) -> Iterator[Step]:
    yield wire.FOREVER


def _garbage(_: Exchange) -> Iterator[Step]:
    yield bytes(range(256)) * 2
    yield Signal.CLOSE


def _reset_before_headers(_: Exchange) -> Iterator[Step]:
    yield Signal.RESET


def _reset_after_headers(exchange: Exchange) -> Iterator[Step]:
    content_type = SSE if exchange.wants_events else b"application/json"
    yield wire.head(200, content_type, wire.CHUNKED)
    yield _SETTLE_S
    yield Signal.RESET


def _cut_after(exchange: Exchange) -> Iterator[Step]:
    count = exchange.behaviour.fault.count if exchange.behaviour.fault else 0
    if not exchange.wants_events:
        return _half_a_body(exchange, Signal.CLOSE)
    stream = exchange.stream()
    return _cut(exchange, replace(stream, content=stream.content[:count]), Signal.CLOSE)


def _half_close(exchange: Exchange) -> Iterator[Step]:
    if not exchange.wants_events:
        return _half_a_body(exchange, Signal.HALF_CLOSE)
    stream = exchange.stream()
    return _cut(exchange, replace(stream, content=stream.content[:1]), Signal.HALF_CLOSE)


def _cut_mid_utf8(exchange: Exchange) -> Iterator[Step]:
    if not exchange.wants_events:
        body = exchange.answer().body
        return _part_of_body(exchange, body, _within_character(body), Signal.CLOSE)
    stream = exchange.stream()
    at = next((index for index, payload in enumerate(stream.content) if not payload.isascii()), 0)
    payload = stream.content[at]
    kept = replace(stream, content=stream.content[:at])
    return _cut(exchange, kept, Signal.CLOSE, b"data: " + payload[: _within_character(payload)])


def _cut_mid_json(exchange: Exchange) -> Iterator[Step]:
    if not exchange.wants_events:
        return _half_a_body(exchange, Signal.CLOSE)
    stream = _first_half(exchange.stream())
    last = stream.content[-1]
    kept = replace(stream, content=stream.content[:-1])
    return _cut(exchange, kept, Signal.CLOSE, b"data: " + last[: len(last) // 2])


def _fin_without_done(exchange: Exchange) -> Iterator[Step]:
    """A body that lasts until the connection ends, ended early: only its content tells that something is missing."""
    if exchange.wants_events:
        stream = replace(exchange.stream(), closing=(), terminator=None)
        yield from wire.joined((*open_stream(exchange, stream, wire.CLOSE), *events(stream, exchange)))
    else:
        answer = exchange.answer()
        head = wire.head(200, answer.content_type, answer.headers + wire.CLOSE)
        yield head + answer.body[: len(answer.body) // 2]
    yield Signal.CLOSE


def _error_in_stream(exchange: Exchange) -> Iterator[Step]:
    return _with_error_inside(exchange, None)


def _error_in_stream_then_done(exchange: Exchange) -> Iterator[Step]:
    return _with_error_inside(exchange, exchange.stream().terminator if exchange.wants_events else None)


def _oversize_line(exchange: Exchange) -> Iterator[Step]:
    return _padded(exchange, b'"padding":"%b"' % (b"x" * OVERSIZE_BYTES))


def _deep_json(exchange: Exchange) -> Iterator[Step]:
    return _padded(exchange, b'"deep":%b%b' % (b"[" * DEPTH, b"]" * DEPTH))


def _gzip_bomb(exchange: Exchange) -> Iterator[Step]:
    content_type = SSE if exchange.wants_events else b"application/json"
    yield from answer_steps(exchange, Answer(_bomb(), 200, b"Content-Encoding: gzip\r\n", content_type))


def _bad_content_length(exchange: Exchange) -> Iterator[Step]:
    """A length below the truth: the answer is cut, and its rest lies where the next answer should begin."""
    if exchange.wants_events:
        stream = exchange.stream()
        body = b"".join(step for step in events(stream, exchange) if isinstance(step, bytes))
        headers, content_type = stream.headers, SSE
    else:
        answer = exchange.answer()
        body, headers, content_type = answer.body, answer.headers, answer.content_type
    yield wire.head(200, content_type, headers + wire.length(body[:-_LENGTH_LIE])) + body


def _html_502(exchange: Exchange) -> Iterator[Step]:
    page = b"<html><head><title>502 Bad Gateway</title></head><body><h1>502 Bad Gateway</h1></body></html>"
    return answer_steps(exchange, Answer(page, 502, content_type=b"text/html"))


def _empty_200(exchange: Exchange) -> Iterator[Step]:
    return answer_steps(exchange, Answer(b""))


def _json_string_401(exchange: Exchange) -> Iterator[Step]:
    return answer_steps(exchange, Answer(json.dumps("Invalid token").encode(), 401))


def _redirect_to_other_host(exchange: Exchange) -> Iterator[Step]:
    """To this emulator by another name: whoever follows is counted again, and under its key if it sent that along."""
    host, _, port = exchange.request.headers.get(b"host", b"127.0.0.1").partition(b":")
    other = b"127.0.0.1" if host == b"localhost" else b"localhost"
    target = exchange.request.path + (f"?{exchange.request.query}" if exchange.request.query else "")
    location = b"Location: http://%b:%b%b\r\n" % (other, port or b"80", target.encode("latin-1"))
    return answer_steps(exchange, Answer(b"", 307, location))


def _with_error_inside(exchange: Exchange, terminator: bytes | None) -> Iterator[Step]:
    """The error amid the content, in the vendor's form. A whole answer is the error itself."""
    failure = exchange.failure()
    if not exchange.wants_events:
        yield from answer_steps(exchange, failure)
        return
    stream = replace(_first_half(exchange.stream()), closing=(), terminator=terminator)
    if stream.error_form == "line":
        stream = replace(stream, line=failure.body)
    else:
        stream = replace(stream, closing=(failure.body,))
    yield from open_stream(exchange, stream, wire.CHUNKED + exchange.closing_line)
    yield from wire.joined(wire.chunked(events(stream, exchange)))
    yield wire.LAST_CHUNK


def _padded(exchange: Exchange, field: bytes) -> Iterator[Step]:
    """A good answer whose JSON object has one absurd field more; a stream has it in its first piece of content."""
    if not exchange.wants_events:
        answer = exchange.answer()
        yield from answer_steps(exchange, replace(answer, body=_with_field(answer.body, field)))
        return
    stream = exchange.stream()
    stream = replace(stream, content=(_with_field(stream.content[0], field), *stream.content[1:]))
    yield from open_stream(exchange, stream, wire.CHUNKED + exchange.closing_line)
    yield from wire.joined(wire.chunked(events(stream, exchange)))
    yield wire.LAST_CHUNK


def _with_field(document: bytes, field: bytes) -> bytes:
    return b"{%b,%b" % (field, document[1:])


def _cut(exchange: Exchange, stream: Stream, signal: Signal, tail: bytes = b"") -> Iterator[Step]:
    """A chunked stream without finish, terminator and last chunk; `tail` is the start of an event."""
    stream = replace(stream, closing=(), terminator=None)
    yield from open_stream(exchange, stream, wire.CHUNKED)
    yield from wire.joined(wire.chunked(events(stream, exchange)))
    if tail:
        yield wire.chunk(tail)
    yield signal


def _half_a_body(exchange: Exchange, signal: Signal) -> Iterator[Step]:
    body = exchange.answer().body
    return _part_of_body(exchange, body, len(body) // 2, signal)


def _part_of_body(exchange: Exchange, body: bytes, kept: int, signal: Signal) -> Iterator[Step]:
    """A whole answer that ends before the length it announced."""
    wait_s = generation_s(exchange.behaviour)
    if wait_s:
        yield wait_s
    yield wire.head(200, b"application/json", wire.length(body)) + body[:kept]
    yield signal


def _first_half(stream: Stream) -> Stream:
    return replace(stream, content=stream.content[: max(1, len(stream.content) // 2)])


def _within_character(text: bytes) -> int:
    """An offset inside the first character of several bytes; the middle where there is none."""
    return next((index + 1 for index, byte in enumerate(text) if byte >= 0xC0), len(text) // 2)


@lru_cache(maxsize=1)
def _bomb() -> bytes:
    """A small gzip file that grows to 256 MiB of zeros: one compressed mebibyte, repeated."""
    mebibyte = bytes(2**20)
    deflate = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    first = deflate.compress(mebibyte) + deflate.flush(zlib.Z_FULL_FLUSH)
    repeated = deflate.compress(mebibyte) + deflate.flush(zlib.Z_FULL_FLUSH)
    checksum = 0
    for _ in range(BOMB_MEBIBYTES):
        checksum = zlib.crc32(mebibyte, checksum)
    size = (BOMB_MEBIBYTES * 2**20) % 2**32
    trailer = checksum.to_bytes(4, "little") + size.to_bytes(4, "little")
    return gzip.compress(b"", 9, mtime=0)[:10] + first + repeated * (BOMB_MEBIBYTES - 1) + deflate.flush() + trailer


FAULTS: Mapping[str, Fault] = {
    "hang": _hang,
    "garbage": _garbage,
    "reset_before_headers": _reset_before_headers,
    "reset_after_headers": _reset_after_headers,
    "cut_after": _cut_after,
    "half_close": _half_close,
    "cut_mid_utf8": _cut_mid_utf8,
    "cut_mid_json": _cut_mid_json,
    "fin_without_done": _fin_without_done,
    "error_in_stream": _error_in_stream,
    "error_in_stream_then_done": _error_in_stream_then_done,
    "oversize_line": _oversize_line,
    "deep_json": _deep_json,
    "gzip_bomb": _gzip_bomb,
    "bad_content_length": _bad_content_length,
    "html_502": _html_502,
    "empty_200": _empty_200,
    "json_string_401": _json_string_401,
    "redirect_to_other_host": _redirect_to_other_host,
}
