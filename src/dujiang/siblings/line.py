"""A line between the parent and a worker: messages, each with its length before it."""

import asyncio
from collections.abc import Callable
from typing import Any, cast

from msgspec import Raw, Struct, msgpack

from dujiang.telemetry.troubles import Trouble

MESSAGE_LIMIT_BYTES = 64 * 1024 * 1024
"""Longer ones end the line: whoever sends that has lost its mind."""

UNSENT_LIMIT_BYTES = 1024 * 1024
"""While more than this was not taken, nothing is sent: the process at the other end is frozen."""

_LENGTH_BYTES = 4


class Ready(Struct, frozen=True, tag="ready"):
    """A worker accepts calls."""


class Ask(Struct, frozen=True, tag="ask"):
    """A worker wants to know something of all workers; `body` is what it says of itself."""

    topic: str
    body: Raw


class Asked(Struct, frozen=True, tag="asked"):
    """The parent passes a question on."""

    round: int
    topic: str


class Answer(Struct, frozen=True, tag="answer"):
    """What a worker says of itself; `body` is the topic's own."""

    round: int
    body: Raw


class Answers(Struct, frozen=True, tag="answers"):
    """What all workers said, the asker too; `silent` is how many did not, in time or because they do not live."""

    topic: str
    bodies: tuple[Raw, ...]
    silent: int


class Seen(Struct, frozen=True, tag="seen"):
    """All that is wrong at vendors, as a worker sees it now."""

    troubles: frozenset[Trouble]


ToParent = Ready | Ask | Answer | Seen
ToWorker = Asked | Answers


class Line(asyncio.Protocol):
    """One end. `kind` is what it gets: `ToParent` or `ToWorker`. `on_end`: the other end was closed; its process may
    have died.
    """

    def __init__(self, kind: Any, on_message: Callable[[Any], None], on_end: Callable[[], None]) -> None:
        self._decoder = msgpack.Decoder(kind)
        self._on_message = on_message
        self._on_end = on_end
        self._received = bytearray()
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        received = self._received
        received += data
        while len(received) >= _LENGTH_BYTES:
            end = _LENGTH_BYTES + int.from_bytes(received[:_LENGTH_BYTES], "big")
            if end > MESSAGE_LIMIT_BYTES:
                self.close()
                return
            if len(received) < end:
                return
            message = self._decoder.decode(bytes(received[_LENGTH_BYTES:end]))
            del received[:end]
            self._on_message(message)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._on_end()

    def send(self, message: ToParent | ToWorker) -> None:
        """Never waits and never raises; what cannot be sent is lost, and whoever waits for an answer has a deadline."""
        if self._transport is None or self._transport.get_write_buffer_size() > UNSENT_LIMIT_BYTES:
            return
        body = msgpack.encode(message)
        self._transport.write(len(body).to_bytes(_LENGTH_BYTES, "big") + body)

    def close(self) -> None:
        if self._transport is not None:
            self._transport.abort()
