"""Reading a request off ASGI: the header fields that matter, and a body within its limit."""

import re
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from dujiang.core.errors import BodyTooLarge, InvalidRequest, NotBuilt

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

_RETRIES = b"x-stainless-retry-count"
_READ = frozenset({b"authorization", b"content-length", b"content-encoding", b"idempotency-key", _RETRIES})
_SAFE_ID = re.compile(r"[A-Za-z0-9._:-]{1,200}\Z")


class CallerGone(Exception):
    """The caller left while its body was being read."""


def read_fields(scope: Scope) -> dict[bytes, bytes]:
    """The header fields that a data-plane endpoint looks at. Raises `InvalidRequest` when one of them comes twice."""
    fields: dict[bytes, bytes] = {}
    for name, value in scope["headers"]:
        if name in _READ:
            if name in fields:
                raise InvalidRequest(f"The header {name.decode()} came twice.", reason="duplicate_header")
            fields[name] = value
    return fields


def retries_of(fields: dict[bytes, bytes]) -> int:
    """How often the caller's SDK had tried before; 0 for callers that do not say."""
    value = fields.get(_RETRIES)
    return int(value) if value is not None and value.isdigit() and len(value) < 4 else 0


async def read_body(fields: dict[bytes, bytes], receive: Receive, limit_bytes: int) -> bytes:
    """The whole body. Raises `BodyTooLarge`, from the declared length already, and `CallerGone`."""
    if b"content-encoding" in fields:
        raise InvalidRequest("Compressed bodies are not accepted.", reason="content_encoding")
    if b"idempotency-key" in fields:
        raise NotBuilt("`Idempotency-Key` is not built yet; leave it out.", reason="idempotency")
    declared = fields.get(b"content-length")
    if declared is not None and declared.isdigit() and int(declared) > limit_bytes:
        raise too_large(limit_bytes)
    message = await receive()
    body: bytes = message.get("body", b"")
    if not message.get("more_body"):
        if message["type"] != "http.request":
            raise CallerGone
        if len(body) > limit_bytes:
            raise too_large(limit_bytes)
        return body
    parts = [body]
    size = len(body)
    while message.get("more_body"):
        message = await receive()
        if message["type"] != "http.request":
            raise CallerGone
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        if size > limit_bytes:
            raise too_large(limit_bytes)
    return b"".join(parts)


def too_large(limit_bytes: int) -> BodyTooLarge:
    """The error of a body above the limit."""
    return BodyTooLarge(f"The body is larger than {limit_bytes} bytes.", reason="body_limit")


def header_id(request_id: str, fallback: str) -> bytes:
    """`X-Request-Id`: the request's id where it is safe in a header, else ours."""
    if request_id is fallback or not _SAFE_ID.match(request_id):
        return fallback.encode("ascii")
    return request_id.encode("ascii")
