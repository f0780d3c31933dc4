"""The stage that remembers every call, whatever becomes of it."""

from asyncio import CancelledError
from time import monotonic, time
from typing import Any

from dujiang.core.call import Attempt, Call, ClaimedUser, ParsedChat, SceneChoice
from dujiang.core.chat import ChatRequest, Chunk, Usage
from dujiang.core.errors import AppError, UpstreamError
from dujiang.core.protocols import Handler, Stage
from dujiang.core.reply import Reply
from dujiang.records.content import CONTENT_BYTES, Said, abridged
from dujiang.records.journal import Journal
from dujiang.records.record import Status, encode

Row = tuple[Any, ...]

_NOBODY = ClaimedUser()
_NO_REQUEST = ChatRequest("", [])
_NO_SCENE = SceneChoice("")
_NO_CHUNK = Chunk()
_NO_USAGE = Usage()
_NO_ATTEMPT = Attempt("", "", "", "")
_CLIENT_GONE = 499
"""nginx's status for a caller who left; nobody ever sees it but the record."""


def record(journal: Journal, *, keeps_content: bool) -> Stage:
    """Append one record to the journal at the call's true end: before whoever called can know that it ended.

    A journal that cannot take records refuses the call before any work, where its policy says so. With `keeps_content`
    the record also has what was said, as it was said: masking is the drain's.
    """

    def stage(handler: Handler) -> Handler:
        async def recorded(call: Call) -> Reply:
            journal.check()
            try:
                reply = await handler(call)
            except BaseException as error:
                cause = _cause_of(error)
                status, http_status = _outcome_of(cause, has_tried=bool(call.attempts))
                journal.append(encode(_row_of(call, status, http_status, cause)))
                raise
            opened_s = monotonic() - call.started
            if keeps_content:
                reply.said = []

            def close(ended: Reply) -> None:
                status: Status = "ok" if ended.is_complete else "cut" if ended.error is not None else "cancelled"
                http_status = 200 if status != "cancelled" else _CLIENT_GONE
                said = _said_in(call, ended) if keeps_content else None
                journal.append(_encoded(_row_of(call, status, http_status, ended.error, ended, opened_s, said)))

            reply.on_close(close)
            return reply

        return recorded

    return stage


def _cause_of(error: BaseException) -> BaseException:
    """Whoever ends calls says why in their cancellation; a caller who leaves says nothing."""
    if isinstance(error, CancelledError) and error.args and isinstance(error.args[0], AppError):
        return error.args[0]
    return error


def _outcome_of(error: BaseException, *, has_tried: bool = False) -> tuple[Status, int]:
    if not isinstance(error, AppError):
        return ("error", 500) if isinstance(error, Exception) else ("cancelled", _CLIENT_GONE)
    return "error" if has_tried or isinstance(error, UpstreamError) else "refused", error.status


def _row_of(
    call: Call,
    status: Status,
    http_status: int,
    error: BaseException | None,
    reply: Reply | None = None,
    opened_s: float | None = None,
    said: Said | None = None,
) -> Row:
    """The fields of a `Record` in their order: to make the struct itself would take 1 µs more.

    `opened_s` is how long the answer took to open; without it none did.
    """
    parsed: ParsedChat | None = getattr(call, "parsed", None)
    user, request = (parsed.user, parsed.request) if parsed is not None else (_NOBODY, _NO_REQUEST)
    scene = call.scene or _NO_SCENE
    chunk = (reply.last if reply is not None else None) or _NO_CHUNK
    usage = reply.usage if reply is not None else None
    spent = usage or _NO_USAGE
    caller, attempts = call.caller, call.attempts
    last = attempts[-1] if attempts else _NO_ATTEMPT
    failure = error if isinstance(error, AppError) else None
    total_s = monotonic() - call.started
    return (
        call.id,
        call.request_id,
        int((time() - total_s) * 1000),  # started_at_ms
        caller.app,
        caller.key_id,
        call.kind,  # endpoint
        status,
        http_status,
        user.user_id,
        user.user_role,
        scene.id or None,
        scene.version,  # scene_version
        request.model,  # model_requested
        call.model,
        chunk.served,
        call.provider,
        last.target,
        last.credential,
        request.stream,
        failure.code if failure is not None else None,  # error_type
        failure.message if failure is not None else None,  # error_text
        chunk.finish,  # finish_reason
        spent.input_uncached,
        spent.cache_read,
        spent.cache_write,
        spent.output_visible,
        spent.reasoning,
        usage.source if usage is not None else None,  # usage_source
        _cost_of(attempts),  # cost_micros
        last.currency,
        last.price_version,
        None,  # cached
        opened_s * 1000 if request.stream and opened_s is not None else None,  # first_token_ms
        total_s * 1000,  # total_ms
        ((total_s if opened_s is None else opened_s) - call.upstream_s) * 1000,  # overhead_ms
        0.0,  # queue_ms
        call.revision,  # config_revision
        None,  # routing
        None,  # parent_id
        call.client_retries,
        call.request_bytes,
        [_attempt_of(attempt) for attempt in attempts],
        said,  # content
    )


def _cost_of(attempts: list[Attempt]) -> int | None:
    """The sum of what is known; None when nothing is."""
    total = None
    for attempt in attempts:
        if attempt.cost_micros is not None:
            total = attempt.cost_micros + (total or 0)
    return total


def _attempt_of(attempt: Attempt) -> Row:
    """The fields of an `AttemptRecord` in their order."""
    first_token_s = attempt.first_token_s
    return (
        attempt.provider,
        attempt.target,
        attempt.credential,
        attempt.why,
        attempt.error,
        attempt.waited_s * 1000,
        first_token_s * 1000 if first_token_s is not None else None,
        attempt.total_s * 1000,
        attempt.cost_micros,
    )


def _said_in(call: Call, reply: Reply) -> Said:
    """The rendered messages and the answer's text."""
    pieces, last = reply.said, reply.last
    text = "".join(pieces) if pieces else last.text if last is not None else ""
    return call.request.messages, text


def _encoded(row: Row) -> bytes:
    """A record with all that was said, or a part of it where that is very long or has numbers larger than msgpack's."""
    try:
        payload = encode(row)
        if len(payload) <= CONTENT_BYTES:
            return payload
    except OverflowError:
        pass
    *fields, said = row
    return encode((*fields, said and abridged(*said)))
