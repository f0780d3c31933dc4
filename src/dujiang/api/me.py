"""The caller's own page."""

from typing import Annotated

from fastapi import APIRouter, Depends, Security
from fastapi.security import HTTPBearer
from pydantic import BaseModel

from dujiang.api.budget_items import OwnBudget, budgets_of
from dujiang.api.deps import Serving, get_caller
from dujiang.api.keys import LimitsItem
from dujiang.core.call import Caller
from dujiang.core.names import patterns_of
from dujiang.identity.names import intersection

router = APIRouter(prefix="/api/v1/me", tags=["identity"])

_scheme = HTTPBearer(auto_error=False, description="A key: `Bearer dj-…`")

Asking = Annotated[Caller, Depends(get_caller)]


class Me(BaseModel):
    """What the key may do; models and scenes are those of chat calls. `limits` are the key's own, `max_tokens` is
    what roles and app leave of it too.
    """

    key_id: str
    app: str
    roles: list[str]
    permissions: list[str]
    models: list[str]
    scenes: list[str]
    limits: LimitsItem
    budgets: list[OwnBudget]


@router.get("")
async def get_me(runtime: Serving, caller: Asking, _: Annotated[object, Security(_scheme)] = None) -> Me:
    """Who this key is, and what it may do. Every key may ask."""
    rights = runtime.rights(caller)
    own = caller.limits
    return Me(
        key_id=caller.key_id,
        app=caller.app,
        roles=list(caller.roles),
        permissions=sorted(rights.permissions),
        models=patterns_of(intersection(rights.models)),
        scenes=patterns_of(intersection(rights.scenes)),
        limits=LimitsItem(rpm=own.rpm, tpm=own.tpm, concurrency=own.concurrency, max_tokens=rights.max_tokens),
        budgets=await budgets_of(runtime, caller),
    )
