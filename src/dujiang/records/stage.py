"""The stage that remembers every call, whatever becomes of it."""

from asyncio import CancelledError
from collections.abc import Mapping
from time import monotonic, time
from typing import Any

from dujiang.core.call import Attempt, Call, ClaimedUser, ParsedChat, SceneChoice
from dujiang.core.chat import ChatRequest, Chunk, Message, Usage
from dujiang.core.errors import AppError, UpstreamError
from dujiang.core.money import Cost, amount_as, total
from dujiang.core.protocols import Handler, Stage
from dujiang.core.reply import Reply
from dujiang.core.settings import ContentPolicy
from dujiang.records.content import CONTENT_BYTES, abridged
from dujiang.records.journal import Journal
from dujiang.records.record import Record, Status, encode

Row = tuple[Any, ...]
Kept = tuple[list[Message], str, bool]
"""The fields of a `Content` in their order, the messages as they are."""

_NOBODY = ClaimedUser()
_NO_REQUEST = ChatRequest("", [])
_NO_SCENE = SceneChoice("")
_NO_CHUNK = Chunk()
_NO_USAGE = Usage()
_NO_ATTEMPT = Attempt("", "", "", "", "")
_CONTENT = Record.__struct_fields__.index("content")
_CLIENT_GONE = 499
"""nginx's status for a caller who left; nobody ever sees it but the record."""


def record(journal: Journal, content: ContentPolicy, content_of_app: Mapping[str, ContentPolicy]) -> Stage:
    """Append one record to the journal at the call's true end: before whoever called can know that it ended.

    A journal that cannot take records refuses the call before any work, where its policy says so. Unless `content`, or
    what replaces it for the call's app, is `none`, the record also has what was said, as it was said: masking is the
    drain's.
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
            policy = content_of_app.get(call.caller.app, content)
            if policy != "none":
                reply.said = []

            def close(ended: Reply) -> None:
                status: Status = "ok" if ended.is_complete else "cut" if ended.error is not None else "cancelled"
                http_status = 200 if status != "cancelled" else _CLIENT_GONE
                said = None if policy == "none" else _said_in(call, ended, is_masked=policy == "masked")
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
    said: Kept | None = None,
) -> Row:
    """The fields of a `Record` in their order: to make the struct itself would take 1 µs more.

    `opened_s` is how long the answer took to open; without it none did.
    """
    parsed: ParsedChat | None = getattr(call, "parsed", None)
    user, request = (parsed.user, parsed.request) if parsed is not None else (_NOBODY, _NO_REQUEST)
    scene = call.scene or _NO_SCENE
    chunk = (reply.last if reply is not None else None) or _NO_CHUNK
    failure = error if isinstance(error, AppError) else None
    usage = reply.usage if reply is not None else failure.spent if failure is not None else None
    spent = usage or _NO_USAGE
    caller, attempts = call.caller, call.attempts
    last = attempts[-1] if attempts else _NO_ATTEMPT
    cost = last.cost if len(attempts) <= 1 else total(attempt.cost for attempt in attempts)
    exchange = cost.exchange if cost is not None else None
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
        cost.amount_micros if cost is not None else None,  # cost_micros
        cost.currency if cost is not None else None,
        cost.price_version if cost is not None else None,
        None,  # cached
        opened_s * 1000 if request.stream and opened_s is not None else None,  # first_token_ms
        total_s * 1000,  # total_ms
        ((total_s if opened_s is None else opened_s) - call.upstream_s - call.waited_s) * 1000,  # overhead_ms
        call.waited_s * 1000,  # queue_ms
        call.revision,  # config_revision
        None,  # routing
        None,  # parent_id
        call.client_retries,
        call.request_bytes,
        [_attempt_of(attempt, cost) for attempt in attempts],
        said,  # content
        exchange.account if exchange is not None else None,  # account_currency
        exchange.rate if exchange is not None else None,  # exchange_rate
        call.charges,
    )


def _attempt_of(attempt: Attempt, whole: Cost | None) -> Row:
    """The fields of an `AttemptRecord` in their order. `whole` is what all attempts cost, in whose currency each is
    recorded.
    """
    first_token_s = attempt.first_token_s
    return (
        attempt.provider,
        attempt.target,
        attempt.credential,
        f"{attempt.why} {attempt.chosen_by}",
        attempt.error,
        attempt.waited_s * 1000,
        first_token_s * 1000 if first_token_s is not None else None,
        attempt.total_s * 1000,
        amount_as(whole, attempt.cost) if whole is not None and attempt.cost is not None else None,
    )


def _said_in(call: Call, reply: Reply, *, is_masked: bool) -> Kept:
    """The rendered messages and the answer's text."""
    pieces, last = reply.said, reply.last
    text = "".join(pieces) if pieces else last.text if last is not None else ""
    return call.request.messages, text, is_masked


def _encoded(row: Row) -> bytes:
    """A record with all that was said, or a part of it where that is very long or has numbers larger than msgpack's."""
    try:
        payload = encode(row)
        if len(payload) <= CONTENT_BYTES:
            return payload
    except OverflowError:
        pass
    said: Kept | None = row[_CONTENT]
    less = (*abridged(said[0], said[1]), said[2]) if said is not None else None
    return encode((*row[:_CONTENT], less, *row[_CONTENT + 1 :]))
