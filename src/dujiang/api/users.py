"""End users of the apps: who was seen, who is blocked, and what else is said of them."""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Depends, Query, Request
from pydantic import BaseModel

from dujiang.api import entries
from dujiang.api.deps import Serving, holding, scope_of, writing
from dujiang.api.keys import BudgetItem, LimitsItem
from dujiang.config.fields import patched
from dujiang.core.call import Caller
from dujiang.core.errors import InvalidRequest
from dujiang.identity.users import UserFields, change_user, page_of_users, shown_user
from dujiang.storage.database import answering

router = APIRouter(prefix="/api/v1/users", tags=["identity"])

Reading = Annotated[Caller, Depends(holding("users:read"))]
Writing = Annotated[Caller, Depends(writing("users:write", holding("users:write")))]
Limit = Annotated[int, Query(ge=1, le=200)]


class UserItem(BaseModel):
    """An app's user. Without `roles`, only the key and a claimed role narrow what calls for it may do."""

    id: str
    app: str
    roles: list[str]
    blocked: bool
    limits: LimitsItem
    budget: BudgetItem | None
    last_seen_at: str | None


class UserList(BaseModel):
    items: list[UserItem]
    next_cursor: str | None


@router.get("")
def list_users(
    runtime: Serving, caller: Reading, app: str | None = None, limit: Limit = 50, cursor: str | None = None
) -> UserList:
    """The users whom calls named, or of whom something was said, by app and id."""
    scope = scope_of(caller)
    if app is not None and scope not in {None, app}:
        return UserList(items=[], next_cursor=None)
    after = None if cursor is None else _read_cursor(cursor)
    with answering():
        found = page_of_users(runtime.database, scope or app, after, limit + 1)
    items = [UserItem(**shown_user(user)) for user in found[:limit]]
    return UserList(items=items, next_cursor=_cursor(items[-1]) if len(found) > limit else None)


@router.patch("/{app}/{id:path}", openapi_extra=entries.fields_described(UserFields))
async def patch_user(app: str, id: str, request: Request, runtime: Serving, caller: Writing) -> UserItem:
    """Say something of a user, whether or not it was seen yet. Fields that are not there stay."""
    patch = await entries.body_of(request)

    def make(known: dict[str, Any]) -> UserFields:
        return patched(known, patch, UserFields)

    user = await runtime.write_identity(caller, lambda database, writer: change_user(database, app, id, make, writer))
    return UserItem(**shown_user(user))


def _cursor(last: UserItem) -> str:
    return urlsafe_b64encode(msgspec.json.encode((last.app, last.id))).decode().rstrip("=")


def _read_cursor(text: str) -> tuple[str, str]:
    """Raises `InvalidRequest` for what is none."""
    try:
        plain = urlsafe_b64decode(text.encode("ascii") + b"=" * (-len(text) % 4))
        return msgspec.json.decode(plain, type=tuple[str, str])
    except (ValueError, msgspec.MsgspecError):
        raise InvalidRequest("This is no cursor of a list of users.", reason="cursor", param="cursor") from None
