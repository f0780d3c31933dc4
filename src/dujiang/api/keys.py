"""Keys: made, found, changed, rotated, revoked. The built-in app's see and write all of them, others their app's."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request
from pydantic import BaseModel, ConfigDict, Field

from dujiang.api import entries
from dujiang.api.deps import Serving, holding, scope_of, writing
from dujiang.config.fields import patched
from dujiang.core.call import Caller
from dujiang.identity.key import shown_key
from dujiang.identity.key_fields import KeyFields, NewKey
from dujiang.identity.keys import (
    MAX_OVERLAP_S,
    change_key,
    get_key,
    make_key,
    page_of_keys,
    revoke_key,
    rotate_key,
)
from dujiang.storage.database import answering

router = APIRouter(prefix="/api/v1/keys", tags=["identity"])

Reading = Annotated[Caller, Depends(holding("keys:read"))]
Writing = Annotated[Caller, Depends(writing("keys:write", holding("keys:write")))]
Limit = Annotated[int, Query(ge=1, le=200)]


class LimitsItem(BaseModel):
    """What is null is not limited by the key itself."""

    rpm: int | None
    tpm: int | None
    concurrency: int | None
    max_tokens: int | None


class BudgetItem(BaseModel):
    amount: float
    currency: str
    per: str


class KeyItem(BaseModel):
    """A key without its secret."""

    id: str
    prefix: str
    app: str
    name: str
    roles: list[str]
    models: list[str]
    scenes: list[str]
    limits: LimitsItem
    budget: BudgetItem | None
    expires_at: str | None
    act_as_user: bool
    allowed_addresses: list[str]
    origin: str
    created_at: str
    created_by: str | None
    revoked_at: str | None
    previous_until: str | None


class MadeKey(KeyItem):
    """A key with its secret, which nobody can see again."""

    key: str


class KeyList(BaseModel):
    items: list[KeyItem]
    next_cursor: str | None


class Rotation(BaseModel):
    """The secret before this one stays good for `overlap_s` seconds."""

    model_config = ConfigDict(extra="forbid")

    overlap_s: Annotated[float, Field(ge=0, le=MAX_OVERLAP_S, allow_inf_nan=False)] = 0


@router.post("", status_code=201, openapi_extra=entries.fields_described(NewKey))
async def create_key(request: Request, runtime: Serving, caller: Writing) -> MadeKey:
    """Make a key. Its secret is in this answer and nowhere else; nobody grants more than they hold."""
    new = await entries.read_fields(request, NewKey)
    key, secret = await runtime.write_identity(caller, lambda database, writer: make_key(database, new, writer))
    return MadeKey(**shown_key(key), key=secret)


@router.get("")
def list_keys(
    runtime: Serving, caller: Reading, app: str | None = None, limit: Limit = 50, cursor: str | None = None
) -> KeyList:
    """The keys, revoked ones too, the newest first."""
    scope = scope_of(caller)
    if app is not None and scope not in {None, app}:
        return KeyList(items=[], next_cursor=None)
    with answering():
        found = page_of_keys(runtime.database, scope or app, cursor, limit + 1)
    items = [KeyItem(**shown_key(key)) for key in found[:limit]]
    return KeyList(items=items, next_cursor=items[-1].id if len(found) > limit else None)


@router.get("/{id}")
def get_one_key(id: str, runtime: Serving, caller: Reading) -> KeyItem:
    with answering():
        return KeyItem(**shown_key(get_key(runtime.database, id, scope_of(caller))))


@router.patch("/{id}", openapi_extra=entries.fields_described(KeyFields))
async def patch_key(id: str, request: Request, runtime: Serving, caller: Writing) -> KeyItem:
    """Change fields of a key; those that are not there stay, and so do limits. Whoever does it holds all of it."""
    patch = await entries.body_of(request)

    def make(known: dict[str, Any]) -> KeyFields:
        return patched(known, patch, KeyFields)

    key = await runtime.write_identity(caller, lambda database, writer: change_key(database, id, make, writer))
    return KeyItem(**shown_key(key))


@router.post("/{id}/rotate", openapi_extra=entries.described(Rotation))
async def rotate(id: str, request: Request, runtime: Serving, caller: Writing) -> MadeKey:
    """Give a key another secret. The one before it ends at once, or after `overlap_s`."""
    asked = await entries.read_body(request, Rotation)
    key, secret = await runtime.write_identity(
        caller, lambda database, writer: rotate_key(database, id, asked.overlap_s, writer)
    )
    return MadeKey(**shown_key(key), key=secret)


@router.delete("/{id}", status_code=204)
async def revoke(id: str, runtime: Serving, caller: Writing) -> None:
    """End a key for good."""
    await runtime.write_identity(caller, lambda database, writer: revoke_key(database, id, writer))
