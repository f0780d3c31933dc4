"""A chat endpoint: one call from its first byte to its true end, in one of the public formats.

The reply is pulled to exhaustion and closed before the terminal bytes are sent: whoever sees the end of an answer can
rely on it being accounted for.
"""

import asyncio
import math
from collections.abc import Callable
from time import monotonic
from typing import Any, Protocol

from dujiang.api.peer import require_address
from dujiang.api.rate_fields import permitted_fields, refused_fields
from dujiang.api.request import CallerGone, Receive, Scope, Send, header_id, read_body, read_fields, retries_of
from dujiang.chat.pipeline import echoed
from dujiang.chat.tasks import OpenCall
from dujiang.core.call import Call, ParsedChat
from dujiang.core.chat import Chunk
from dujiang.core.errors import AppError, LimitExceeded, MethodNotAllowed, ShuttingDown, StreamBroken
from dujiang.core.ids import new_id
from dujiang.core.reply import Reply
from dujiang.runtime import Runtime


class Renderer(Protocol):
    """Turns the chunks of one stream into bytes."""

    def event(self, chunk: Chunk) -> bytes: ...

    def terminal(self, chunk: Chunk) -> bytes: ...


class Wire(Protocol):
    """A public format: a module of pure functions."""

    def parse(self, body: bytes) -> ParsedChat: ...

    def render_whole(self, call: Call, chunk: Chunk) -> bytes: ...

    @property
    def StreamRenderer(self) -> Callable[[Call], Renderer]: ...  # noqa: N802

    def render_error(self, error: AppError, request_id: str, call: Call | None) -> bytes: ...

    def render_error_event(self, error: AppError, call: Call) -> bytes: ...


_JSON = (b"content-type", b"application/json")
_STREAM_FIELDS = ((b"content-type", b"text/event-stream; charset=utf-8"), (b"cache-control", b"no-cache"))


class Incoming:
    """A request that is being answered: what is known of it even when it never becomes a call."""

    __slots__ = ("entry", "id", "send", "started")

    def __init__(self, send: Send, entry: OpenCall) -> None:
        self.id = new_id()
        self.started = monotonic()
        self.send = send
        self.entry = entry


class ChatEndpoint:
    """An ASGI application for `POST` of one format."""

    def __init__(self, runtime: Runtime, wire: Wire, kind: str) -> None:
        self._runtime = runtime
        self._wire = wire
        self._kind = kind

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        peer = scope.get("peer")
        task = _task_of(peer)
        calls = self._runtime.calls
        entry = calls.enter(task)
        incoming = Incoming(send, entry)
        if peer is not None:
            peer.on_gone = task.cancel
        try:
            await self._serve(incoming, scope, receive)
        except AppError as error:
            await self._refuse(incoming, error)
        except asyncio.CancelledError:
            if entry.reason is not None:
                task.uncancel()
                await self._refuse(incoming, entry.reason)
        finally:
            if peer is not None:
                peer.on_gone = None
            calls.leave(entry)

    async def _serve(self, incoming: Incoming, scope: Scope, receive: Receive) -> None:
        if scope["method"] != "POST":
            raise MethodNotAllowed("This endpoint takes POST.")
        fields = read_fields(scope)
        runtime = self._runtime
        caller = runtime.authenticate(fields.get(b"authorization"))
        snapshot = runtime.snapshot
        started = incoming.started
        call = Call(
            incoming.id, self._kind, self._wire.parse, caller, started, started + snapshot.total_s, snapshot.revision
        )
        incoming.entry.call = call
        call.client_retries = retries_of(fields)
        try:
            if caller.networks:
                require_address(caller, scope, runtime.trusted_proxies)
            call.body = await read_body(fields, receive, runtime.body_limit_bytes)
            if runtime.is_draining:
                raise ShuttingDown("The server is shutting down; try again.", retry_after_s=1)
        except (AppError, asyncio.CancelledError) as error:
            call.parse = refusing(error)
        except CallerGone:
            call.parse = refusing(asyncio.CancelledError())
        call.request_bytes = len(call.body)
        reply = await snapshot.handler(call)
        if call.request.stream:
            await self._stream(call, reply, incoming)
        else:
            await self._whole(call, reply, incoming.send)

    async def _whole(self, call: Call, reply: Reply, send: Send) -> None:
        try:
            chunk = await anext(reply)
        finally:
            reply.close()
        body = self._wire.render_whole(call, chunk)
        await _answer(send, 200, _call_fields(call), body)

    async def _stream(self, call: Call, reply: Reply, incoming: Incoming) -> None:
        renderer = self._wire.StreamRenderer(call)
        send = incoming.send
        last: Chunk | None = None
        error: AppError | None = None
        try:
            await send(
                {"type": "http.response.start", "status": 200, "headers": [*_STREAM_FIELDS, *_call_fields(call)]}
            )
            async for chunk in reply:
                if chunk.finish is not None:
                    last = chunk
                else:
                    await send({"type": "http.response.body", "body": renderer.event(chunk), "more_body": True})
        except StreamBroken as broken:
            error = broken
        except asyncio.CancelledError:
            error = reply.error = incoming.entry.reason
            if error is None:
                raise
            incoming.entry.task.uncancel()
        finally:
            error = _closed(reply) or error
        if error is not None or last is None:
            end = self._wire.render_error_event(error or StreamBroken("The answer broke off."), call)
        else:
            end = (renderer.event(last) if last.has_content else b"") + renderer.terminal(last)
        await send({"type": "http.response.body", "body": end})

    async def _refuse(self, incoming: Incoming, error: AppError) -> None:
        id, call = incoming.id, incoming.entry.call
        self._runtime.metrics.unauthenticated += error.status == 401
        request_id = call.request_id if call is not None else id
        if call is not None and request_id is id:
            request_id = echoed(call.body) or id
        fields = [(b"x-request-id", header_id(request_id, id)), _overhead(incoming.started, call)]
        if error.retry_after_s is not None:
            fields.append((b"retry-after", b"%d" % max(1, math.ceil(error.retry_after_s))))
        if isinstance(error, LimitExceeded) and error.refusal is not None:
            fields += refused_fields(error.refusal)
        if error.status == 405:
            fields.append((b"allow", b"POST"))
        if error.status == 401:
            fields.append((b"www-authenticate", b"Bearer"))
        if error.status in (401, 405, 413) or isinstance(error, ShuttingDown):
            fields.append((b"connection", b"close"))
        await _answer(incoming.send, error.status, fields, self._wire.render_error(error, request_id, call))


def refusing(error: AppError | asyncio.CancelledError) -> Callable[[bytes], ParsedChat]:
    """A parser for a body that could not be taken: so that its refusal goes through the pipeline like any call."""

    def refuse(_: bytes) -> ParsedChat:
        raise error

    return refuse


def _closed(reply: Reply) -> AppError | None:
    """Close a reply; the error when it could not be accounted for, and so must not be presented as complete."""
    try:
        reply.close()
    except AppError as error:
        return error
    return None


def _task_of(peer: Any) -> "asyncio.Task[None]":
    """The task that runs this call. Our own server knows it; asking asyncio costs 3 µs."""
    task = peer.task if peer is not None else asyncio.current_task()
    if task is None:
        raise RuntimeError("a call must run in a task")
    return task


def _call_fields(call: Call) -> list[tuple[bytes, bytes]]:
    fields = [(b"x-request-id", header_id(call.request_id, call.id)), _overhead(call.started, call)]
    return fields + permitted_fields(call.permit) if call.permit is not None else fields


def _overhead(started: float, call: Call | None) -> tuple[bytes, bytes]:
    """The time so far that was not spent waiting for a model."""
    spent_s = monotonic() - started - (call.upstream_s + call.waited_s if call is not None else 0.0)
    return (b"x-dujiang-overhead-ms", b"%.2f" % (spent_s * 1000))


async def _answer(send: Send, status: int, fields: list[tuple[bytes, bytes]], body: bytes) -> None:
    length = (b"content-length", b"%d" % len(body))
    await send({"type": "http.response.start", "status": status, "headers": [_JSON, length, *fields]})
    await send({"type": "http.response.body", "body": body})
