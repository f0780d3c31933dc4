"""Call records: found, opened, summed up and exported, by whoever may see them."""

from collections.abc import Mapping
from itertools import chain
from time import time
from typing import Annotated, Any, Literal

import msgspec
from fastapi import APIRouter, Depends, Request, Response, Security
from fastapi.responses import StreamingResponse
from fastapi.security import HTTPBearer
from msgspec import Struct
from pydantic import BaseModel

from dujiang.api.deps import PLATFORM_APP, Serving, get_caller
from dujiang.core.errors import Forbidden, InvalidRequest
from dujiang.records.export import FORMATS
from dujiang.records.items import Items
from dujiang.records.query import PARAMETERS, Scope, parse_parameters, parse_query
from dujiang.records.stats_query import STATS_PARAMETERS, parse_stats

router = APIRouter(prefix="/api/v1/records", tags=["records"])

_EXPORTED = [name for name in PARAMETERS if name not in {"limit", "cursor"}]
_MEANINGS = {
    "from": "the first moment, ISO 8601; UTC where it names no zone",
    "to": "the moment before which",
    "cached": "how the answer was found; `true` for any way, `false` for none",
    "min_cost": "in `currency`, CNY where that is not given",
    "q": "what the request id, the user id or the error's text begins with",
    "sort": "`-started_at` where it is not given",
    "limit": "1 to 200, 50 where it is not given",
    "cursor": "an answer's `next_cursor`",
    "group_by": "a list of app, user, role, model, provider, scene, scene_version, status, hour, day",
    "interval": "`hour` or `day`: as in `group_by`",
    "format": "`ndjson` or `csv`",
}


class Usage(BaseModel):
    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    cached_tokens: int
    reasoning_tokens: int
    source: Literal["provider", "estimated"]


class Money(BaseModel):
    amount: float
    currency: str | None


class Exchange(BaseModel):
    """What one unit of the cost's currency was worth in the currency of account, when the call was made."""

    currency: str
    rate: str


class RecordItem(BaseModel):
    """One call. What is not known is null."""

    id: str
    request_id: str
    started_at: str
    app: str
    key_id: str
    user_id: str | None
    user_role: str | None
    endpoint: str
    scene: str | None
    scene_version: int | None
    model_requested: str
    model: str | None
    provider: str | None
    target: str | None
    stream: bool
    status: Literal["ok", "error", "cancelled", "cut", "refused"]
    http_status: int
    error_type: str | None
    finish_reason: str | None
    usage: Usage | None
    cost: Money | None
    cached: str | None
    attempts: int
    first_token_ms: float | None
    total_ms: float
    overhead_ms: float
    queue_ms: float
    config_revision: int
    routing: str | None


class RecordList(BaseModel):
    items: list[RecordItem]
    next_cursor: str | None


class AttemptDetail(BaseModel):
    provider: str
    target: str
    credential: str
    status: Literal["ok", "error"]
    error_type: str | None
    waited_ms: float
    first_token_ms: float | None
    total_ms: float
    why: str
    chosen_by: str | None
    cost: Money | None


class Content(BaseModel):
    messages: Any
    result: str


class RecordDetail(RecordItem):
    """One call with each try, and what was said where it is kept and the key holds `records:content`."""

    error_text: str | None
    served: str | None
    credential: str
    price_version: str | None
    exchange: Exchange | None
    parent_id: str | None
    client_retries: int
    request_bytes: int
    attempts_detail: list[AttemptDetail]
    content: Content | None


class StatsItem(BaseModel):
    """A group, whose keys stand beside these. Durations are within 5 %; costs are by currency."""

    calls: int
    errors: int
    error_ratio: float
    prompt_tokens: int
    completion_tokens: int
    cost: dict[str, float]
    p50_ms: float | None
    p95_ms: float | None
    p99_ms: float | None
    first_token_p95_ms: float | None
    cached_ratio: float


class StatsList(BaseModel):
    items: list[StatsItem]


class Reader(Struct, frozen=True):
    """Who asks: whose records they may see, and what else they may."""

    scope: Scope
    permissions: frozenset[str]


_scheme = HTTPBearer(auto_error=False, description="A key: `Bearer dj-…`")


def get_reader(request: Request, runtime: Serving, _: Annotated[object, Security(_scheme)] = None) -> Reader:
    """Raises `Forbidden` for a caller who may see no records at all."""
    caller = get_caller(request, runtime)
    permissions = runtime.rights(caller).permissions
    if "records:read" in permissions:
        return Reader(Scope(app=None if caller.app == PLATFORM_APP else caller.app), permissions)
    if "records:read_own" in permissions:
        return Reader(Scope(app=caller.app, key_id=caller.key_id), permissions)
    raise Forbidden("This needs the permission `records:read` or `records:read_own`.", reason="permission")


Reading = Annotated[Reader, Depends(get_reader)]


def _documented(parameters: Mapping[str, object] | list[str]) -> dict[str, Any]:
    """The parameters for the schema; they are parsed by the feature itself, which knows what they mean."""
    schema = {"type": "string"}
    return {
        "parameters": [
            {"name": name, "in": "query", "required": False, "schema": schema, "description": _MEANINGS.get(name, "")}
            for name in parameters
        ]
    }


@router.get("", response_model=RecordList, openapi_extra=_documented(PARAMETERS))
def list_records(request: Request, runtime: Serving, reader: Reading) -> Response:
    """A page of calls, the newest first. Every filter given must hold."""
    query = parse_query(request.query_params.multi_items(), _now_ms())
    page = runtime.records.list(query, reader.scope)
    return _json({"items": page.items, "next_cursor": page.next_cursor})


@router.get("/stats", response_model=StatsList, openapi_extra=_documented(STATS_PARAMETERS))
def get_stats(request: Request, runtime: Serving, reader: Reading) -> Response:
    """Counts, tokens, costs and durations by group, over whole hours."""
    query = parse_stats(request.query_params.multi_items(), _now_ms())
    return _json({"items": runtime.records.stats(query, reader.scope)})


@router.get(
    "/export",
    response_class=StreamingResponse,
    responses={200: {"content": {kind: {} for kind, _ in FORMATS.values()}}},
    openapi_extra=_documented(["format", *_EXPORTED]),
)
def export_records(request: Request, runtime: Serving, reader: Reading) -> StreamingResponse:
    """All calls that the filters let through, streamed. A file that breaks off was not all."""
    if "records:export" not in reader.permissions:
        raise Forbidden("This needs the permission `records:export`.", reason="permission")
    given = request.query_params.multi_items()
    names = [text for name, text in given if name == "format"] or ["ndjson"]
    if len(names) > 1 or names[0] not in FORMATS:
        raise InvalidRequest(f"`format` must be one of {', '.join(FORMATS)}.", param="format")
    query = parse_query([(name, text) for name, text in given if name != "format"], _now_ms())
    pages = runtime.records.export(query, reader.scope)
    # The first page is read before the answer begins, so that what is wrong can still be said.
    first = next(pages, Items())
    media_type, write = FORMATS[names[0]]
    headers = {"Content-Disposition": f'attachment; filename="records.{names[0]}"'}
    return StreamingResponse(write(chain([first], pages)), media_type=media_type, headers=headers)


@router.get("/{id}", response_model=RecordDetail)
def get_record(id: str, request: Request, runtime: Serving, reader: Reading) -> Response:
    """One call with each try, and what was said where that is kept and may be seen."""
    parse_parameters(request.query_params.multi_items(), {})
    with_content = "records:content" in reader.permissions
    return _json(runtime.records.get(id, reader.scope, with_content=with_content))


def _now_ms() -> int:
    return int(time() * 1000)


def _json(value: object) -> Response:
    return Response(msgspec.json.encode(value), media_type="application/json")
