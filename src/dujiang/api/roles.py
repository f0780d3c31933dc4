"""Roles: what their holders may do. They concern the whole platform."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request, Response

from dujiang.api import entries
from dujiang.api.deps import Serving, holding_on_platform, writing
from dujiang.core.call import Caller

router = APIRouter(prefix="/api/v1/roles", tags=["identity"])

Reading = Annotated[Caller, Depends(holding_on_platform("roles:read"))]
Writing = Annotated[Caller, Depends(writing("roles:write", holding_on_platform("roles:write")))]

_ROLES = "roles"


@router.get("")
async def list_roles(runtime: Serving, caller: Reading) -> dict[str, Any]:
    """Every role."""
    found = await entries.parts(runtime, _ROLES)
    return {"items": [entries.item(name, part) for name, part in found.items()], "next_cursor": None}


@router.post("", status_code=201)
async def create_role(request: Request, response: Response, runtime: Serving, caller: Writing) -> dict[str, Any]:
    """`{id, permissions[], models?, scenes?, limits?}`. Nobody grants more than they hold."""
    name, part = entries.named(await entries.body_of(request))
    return await entries.create(runtime, caller, _ROLES, name, part, response)


@router.get("/{id}")
async def get_role(id: str, runtime: Serving, caller: Reading) -> dict[str, Any]:
    return entries.item(id, await entries.part(runtime, _ROLES, id))


@router.patch("/{id}")
async def change_role(
    id: str, request: Request, response: Response, runtime: Serving, caller: Writing
) -> dict[str, Any]:
    """A JSON merge patch of the role."""
    return await entries.change(runtime, caller, _ROLES, id, await entries.body_of(request), response)


@router.delete("/{id}", status_code=204)
async def delete_role(id: str, runtime: Serving, caller: Writing) -> None:
    """A role that others refer to stays; a key loses what only this role gave it."""
    await entries.remove(runtime, caller, _ROLES, id)
