"""The configuration: read, changed, compared and taken back. Every change is a revision."""

import re
from asyncio import to_thread
from collections.abc import Callable
from functools import partial
from typing import Annotated, Any, Literal

import msgspec
from fastapi import APIRouter, Depends, Query, Request, Response
from pydantic import BaseModel

from dujiang.api.deps import Serving, holding_on_platform, writing
from dujiang.config.apart import LARGE_BYTES
from dujiang.config.author import Author
from dujiang.config.difference import differences
from dujiang.config.entries import Tree
from dujiang.config.pieces import json_of
from dujiang.config.problems import InvalidDocument
from dujiang.config.reader import Task
from dujiang.config.schema import document_schema
from dujiang.config.service import Configuration
from dujiang.config.state import Given, Proposal, Vetted
from dujiang.config.tree import Format, read_tree
from dujiang.config.writing import write_tree
from dujiang.core.call import Caller
from dujiang.core.errors import InvalidRequest, PreconditionRequired, Unprocessable
from dujiang.core.problem import Problem
from dujiang.runtime import Runtime
from dujiang.snapshot import Snapshot

router = APIRouter(prefix="/api/v1/config", tags=["configuration"])

Config = Configuration[Snapshot]
Reading = Annotated[Caller, Depends(holding_on_platform("config:read"))]
Writing = Annotated[Caller, Depends(writing("config:write", holding_on_platform("config:write")))]

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
    subject: str
    outcome: Literal["applied", "refused"]
    detail: str
    before: Any
    after: Any


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
    revision, tree = await runtime.configure(_newest)
    headers = {"ETag": f'"{revision}"'}
    if "yaml" in request.headers.get("accept", ""):
        return Response(await to_thread(write_tree, tree, "yaml"), headers=headers, media_type="application/yaml")
    return Response(await to_thread(json_of, tree), headers=headers, media_type="application/json")


@router.put("", openapi_extra=_DOCUMENT)
async def put_config(request: Request, runtime: Serving, caller: Writing) -> Written:
    """Replace the document. `If-Match` has the revision that it was made from."""
    parent, comment = _parent_of(request), _comment_of(request)
    author = author_of(runtime, caller)
    try:
        document = await _document_of(request, runtime)
    except InvalidDocument as invalid:
        refusal = invalid
        await runtime.configure(lambda config: config.note_refusal(author, "put", refusal))
        raise
    return await _write(runtime, lambda config: config.put(document(), parent, author, comment))


@router.patch("", openapi_extra=_DOCUMENT)
async def patch_config(request: Request, runtime: Serving, caller: Writing) -> Written:
    """Change the document by a JSON merge patch (RFC 7396). `If-Match` has the revision that it is meant for."""
    parent, comment = _parent_of(request), _comment_of(request)
    author = author_of(runtime, caller)
    patch = await _patch_of(request, runtime)
    return await _write(runtime, lambda config: config.patch(patch(), parent, author, comment))


@router.post("/validate", openapi_extra=_DOCUMENT)
async def validate(request: Request, runtime: Serving, caller: Writing) -> Judgement:
    """What would be wrong with a document, if it were put. Changes nothing."""
    author = author_of(runtime, caller)
    try:
        document = await _document_of(request, runtime)
        proposal = await runtime.configure(lambda config: config.judge(document(), author))
    except InvalidDocument as invalid:
        return Judgement(valid=False, problems=list(map(doubt, invalid.problems)), warnings=[])
    return Judgement(valid=True, problems=[], warnings=list(map(doubt, proposal.warnings)))


@router.get("/revisions")
async def list_revisions(
    runtime: Serving, caller: Reading, limit: Limit = 50, cursor: str | None = None
) -> RevisionList:
    """The revisions, the newest first."""
    before = None if cursor is None else _number_of(cursor)
    found = await runtime.configure(lambda config: config.history.list(before, limit + 1))
    items = [RevisionItem(**msgspec.to_builtins(each)) for each in found[:limit]]
    return RevisionList(items=items, next_cursor=str(items[-1].revision) if len(found) > limit else None)


@router.get("/revisions/{revision}", responses={200: {"model": RevisionDetail}}, response_class=Response)
async def get_revision(runtime: Serving, caller: Reading, revision: int) -> Response:
    """A revision with its document, secrets as `***`."""
    described, tree = await runtime.configure(lambda config: (config.history.describe(revision), config.tree(revision)))
    body = msgspec.json.encode(described).removesuffix(b"}") + b',"document":' + await to_thread(json_of, tree) + b"}"
    return Response(body, media_type="application/json")


@router.get("/diff", responses={200: {"model": ChangeList}}, response_class=Response)
async def diff(
    runtime: Serving, caller: Reading, from_: Annotated[Number, Query(alias="from")], to: Number
) -> Response:
    """What lies between two revisions, leaf by leaf, secrets as `***`."""
    before, after = await runtime.configure(lambda config: config.differing(from_, to))
    return Response(await to_thread(_changes_json, before, after), media_type="application/json")


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
    """Who changed the configuration, keys or users, and who tried in vain, the newest first."""
    found = await runtime.configure(lambda config: config.audit.list(cursor, limit + 1))
    items = [AuditItem(**msgspec.to_builtins(each)) for each in found[:limit]]
    return AuditList(items=items, next_cursor=items[-1].id if len(found) > limit else None)


def _changes_json(before: Tree, after: Tree) -> bytes:
    return b'{"changes":[' + b",".join(map(msgspec.json.encode, differences(before, after))) + b"]}"


def author_of(runtime: Runtime, caller: Caller) -> Author:
    return Author(caller.key_id, runtime.rights(caller), caller)


def doubt(problem: Problem) -> Doubt:
    return Doubt(path=problem.path, message=problem.message)


def written(proposal: Proposal) -> Written:
    return Written(revision=proposal.revision, warnings=list(map(doubt, proposal.warnings)))


def _newest(config: Config) -> tuple[int, dict[str, Any]]:
    revision = config.newest().revision
    return revision, config.tree(revision)


async def _document_of(request: Request, runtime: Runtime) -> Callable[[], Given]:
    """The document of a request: a large one is read and checked by now, a small one once it is asked for."""
    text, format = await request.body(), _format_of(request)
    if len(text) <= LARGE_BYTES:
        return partial(read_tree, text, format)
    revision, secrets = await runtime.configure(lambda config: (config.newest().revision, config.secrets()))
    tree = await runtime.readers.read(Task("check", format, secrets), text, partial(_gone, request))
    return lambda: Vetted(tree, revision)


async def _patch_of(request: Request, runtime: Runtime) -> Callable[[], Tree]:
    """The patch of a request, as `_document_of`, but unchecked."""
    text, format = await request.body(), _format_of(request)
    if len(text) <= LARGE_BYTES:
        return partial(read_tree, text, format)
    tree = await runtime.readers.read(Task("read", format), text, partial(_gone, request))
    return lambda: tree


async def _gone(request: Request) -> None:
    """Returns when the one who asks has left."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def _write(runtime: Runtime, work: Callable[[Config], Proposal]) -> Written:
    return written(await runtime.configure(partial(work)))


def _format_of(request: Request) -> Format:
    """What `Content-Type` says. What clients send who say nothing, curl among them, leaves it to the text."""
    media_type = request.headers.get("content-type", "application/json").partition(";")[0].strip().lower()
    if media_type in {"application/json", "application/merge-patch+json"}:
        return "json"
    if media_type in {"application/yaml", "application/x-yaml", "text/yaml", "text/x-yaml"}:
        return "yaml"
    if media_type in {"", "application/x-www-form-urlencoded", "application/octet-stream", "text/plain"}:
        return "auto"
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
