"""The configuration: read, changed, compared and taken back. Every change is a revision."""

import re
from collections.abc import Callable
from functools import partial
from typing import Annotated, Any, Literal

import msgspec
from fastapi import APIRouter, Depends, Query, Request, Response
from msgspec import Struct
from pydantic import BaseModel

from dujiang.api.deps import Serving, holding_on_platform
from dujiang.config.author import Author
from dujiang.config.difference import differences
from dujiang.config.problems import InvalidDocument
from dujiang.config.schema import document_schema
from dujiang.config.service import Configuration, Proposal
from dujiang.config.strict_yaml import yaml_of
from dujiang.config.tree import Format, read_tree
from dujiang.core.call import Caller
from dujiang.core.errors import InvalidRequest, PreconditionRequired, Unprocessable
from dujiang.core.problem import Problem
from dujiang.runtime import Runtime
from dujiang.snapshot import Snapshot

router = APIRouter(prefix="/api/v1/config", tags=["configuration"])

Config = Configuration[Snapshot]
Reading = Annotated[Caller, Depends(holding_on_platform("config:read"))]
Writing = Annotated[Caller, Depends(holding_on_platform("config:write"))]

_ETAG = re.compile(r'\s*(?:W/)?"?(\d{1,9})"?\s*')
_COMMENT_CHARACTERS = 1000
_DOCUMENT = {
    "requestBody": {
        "required": True,
        "content": {"application/json": {"schema": {"type": "object"}}, "application/yaml": {}},
    }
}


class Doubt(BaseModel):
    path: str
    message: str


class Written(BaseModel):
    """The revision at work, and what in it is probably not what its author meant."""

    revision: int
    warnings: list[Doubt]


class Judgement(BaseModel):
    """What is wrong with a document, and what is doubtful. Nothing was changed."""

    valid: bool
    problems: list[Doubt]
    warnings: list[Doubt]


class RevisionItem(BaseModel):
    revision: int
    author: str
    created_at: str
    comment: str


class RevisionList(BaseModel):
    items: list[RevisionItem]
    next_cursor: str | None


class RevisionDetail(RevisionItem):
    document: dict[str, Any]


class ChangeItem(BaseModel):
    path: str
    before: Any
    after: Any


class ChangeList(BaseModel):
    changes: list[ChangeItem]


class AuditItem(BaseModel):
    id: str
    at: str
    author: str
    action: str
    outcome: Literal["applied", "refused"]
    detail: str


class AuditList(BaseModel):
    items: list[AuditItem]
    next_cursor: str | None


Limit = Annotated[int, Query(ge=1, le=200)]
Number = Annotated[int, Query(ge=1, le=999_999_999)]


@router.get("", responses={200: {"content": {"application/json": {}, "application/yaml": {}}}}, response_class=Response)
async def get_config(request: Request, runtime: Serving, caller: Reading) -> Response:
    """The whole document, secrets as `***`; in YAML for who accepts `application/yaml`.

    The `ETag` is the revision: send it back as `If-Match`.
    """
    revision, tree = await runtime.configure(lambda config: (config.live.revision, config.tree(config.live.revision)))
    headers = {"ETag": f'"{revision}"'}
    if "yaml" in request.headers.get("accept", ""):
        return Response(yaml_of(tree), headers=headers, media_type="application/yaml")
    return Response(msgspec.json.encode(tree), headers=headers, media_type="application/json")


@router.put("", openapi_extra=_DOCUMENT)
async def put_config(request: Request, runtime: Serving, caller: Writing) -> Written:
    """Replace the document. `If-Match` has the revision that it was made from."""
    change = await _change_of(request)
    author = author_of(runtime, caller)
    return await _write(runtime, lambda config: config.put(change.tree, change.parent, author, change.comment))


@router.patch("", openapi_extra=_DOCUMENT)
async def patch_config(request: Request, runtime: Serving, caller: Writing) -> Written:
    """Change the document by a JSON merge patch (RFC 7396). `If-Match` has the revision that it is meant for."""
    change = await _change_of(request)
    author = author_of(runtime, caller)
    return await _write(runtime, lambda config: config.patch(change.tree, change.parent, author, change.comment))


@router.post("/validate", openapi_extra=_DOCUMENT)
async def validate(request: Request, runtime: Serving, caller: Writing) -> Judgement:
    """What would be wrong with a document, if it were put. Changes nothing."""
    author = author_of(runtime, caller)
    try:
        tree = read_tree(await request.body(), _format_of(request))
        proposal = await runtime.configure(lambda config: config.judge(tree, author))
    except InvalidDocument as invalid:
        return Judgement(valid=False, problems=list(map(doubt, invalid.problems)), warnings=[])
    return Judgement(valid=True, problems=[], warnings=list(map(doubt, proposal.warnings)))


@router.get("/revisions")
async def list_revisions(
    runtime: Serving, caller: Reading, limit: Limit = 50, cursor: str | None = None
) -> RevisionList:
    """The revisions, the newest first."""
    before = None if cursor is None else _number_of(cursor)
    found = await runtime.configure(lambda config: config.revisions(before, limit + 1))
    items = [RevisionItem(**msgspec.to_builtins(each)) for each in found[:limit]]
    return RevisionList(items=items, next_cursor=str(items[-1].revision) if len(found) > limit else None)


@router.get("/revisions/{revision}")
async def get_revision(runtime: Serving, caller: Reading, revision: int) -> RevisionDetail:
    """A revision with its document, secrets as `***`."""
    described, tree = await runtime.configure(lambda config: (config.describe(revision), config.tree(revision)))
    return RevisionDetail(**msgspec.to_builtins(described), document=tree)


@router.get("/diff")
async def diff(
    runtime: Serving, caller: Reading, from_: Annotated[Number, Query(alias="from")], to: Number
) -> ChangeList:
    """What lies between two revisions, leaf by leaf, secrets as `***`."""
    before, after = await runtime.configure(lambda config: (config.tree(from_), config.tree(to)))
    return ChangeList(changes=[ChangeItem(**msgspec.structs.asdict(each)) for each in differences(before, after)])


@router.post("/revisions/{revision}/rollback")
async def roll_back(request: Request, runtime: Serving, caller: Writing, revision: int) -> Written:
    """Make an earlier revision the next one. Where `If-Match` is given, it must be the newest."""
    author, comment = author_of(runtime, caller), _comment_of(request)
    parent = None if "if-match" not in request.headers else _parent_of(request)
    return await _write(runtime, lambda config: config.roll_back(revision, parent, author, comment))


@router.get("/schema")
async def schema(caller: Reading) -> dict[str, Any]:
    """The document's JSON Schema."""
    return document_schema()


@router.get("/audit")
async def audit(runtime: Serving, caller: Reading, limit: Limit = 50, cursor: str | None = None) -> AuditList:
    """Who changed the configuration, and who tried in vain, the newest first."""
    found = await runtime.configure(lambda config: config.audited(cursor, limit + 1))
    items = [AuditItem(**msgspec.to_builtins(each)) for each in found[:limit]]
    return AuditList(items=items, next_cursor=items[-1].id if len(found) > limit else None)


def author_of(runtime: Runtime, caller: Caller) -> Author:
    return Author(caller.key_id, runtime.rights(caller))


def doubt(problem: Problem) -> Doubt:
    return Doubt(path=problem.path, message=problem.message)


def written(proposal: Proposal) -> Written:
    return Written(revision=proposal.revision, warnings=list(map(doubt, proposal.warnings)))


class _Change(Struct, frozen=True):
    tree: dict[str, Any]
    parent: int
    comment: str


async def _change_of(request: Request) -> _Change:
    parent = _parent_of(request)
    return _Change(read_tree(await request.body(), _format_of(request)), parent, _comment_of(request))


async def _write(runtime: Runtime, work: Callable[[Config], Proposal]) -> Written:
    return written(await runtime.configure(partial(work)))


def _format_of(request: Request) -> Format:
    media_type = request.headers.get("content-type", "application/json").partition(";")[0].strip().lower()
    if media_type in {"application/json", "application/merge-patch+json"}:
        return "json"
    if media_type in {"application/yaml", "application/x-yaml", "text/yaml", "text/x-yaml"}:
        return "yaml"
    raise Unprocessable("The document is JSON or YAML: say so in `Content-Type`.", param="Content-Type")


def _parent_of(request: Request) -> int:
    """Raises `PreconditionRequired` where the header is not there."""
    value = request.headers.get("if-match")
    if value is None:
        raise PreconditionRequired(
            'Say which revision you change, as `If-Match: "N"`: `GET /api/v1/config` tells it as its `ETag`.',
            param="If-Match",
        )
    return _number_of(value)


def _number_of(text: str) -> int:
    match = _ETAG.fullmatch(text)
    if match is None:
        raise InvalidRequest('A revision is a number, as in `If-Match: "3"`.', param="If-Match")
    return int(match[1])


def _comment_of(request: Request) -> str:
    """What the author says of the change, as text that disturbs no terminal."""
    text = request.headers.get("x-comment", "").encode("latin-1").decode("utf-8", "replace")
    return "".join(letter for letter in text if letter.isprintable())[:_COMMENT_CHARACTERS]
