"""Apps: the platform's tenants. Keys of the built-in app see and change all; other keys see their own."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request, Response

from dujiang.api import entries
from dujiang.api.deps import PLATFORM_APP, Serving, holding, holding_on_platform, writing
from dujiang.core.call import Caller
from dujiang.core.errors import NotFound

router = APIRouter(prefix="/api/v1/apps", tags=["identity"])

Reading = Annotated[Caller, Depends(holding("apps:read"))]
Writing = Annotated[Caller, Depends(writing("apps:write", holding_on_platform("apps:write")))]

_APPS = "apps"


@router.get("")
async def list_apps(runtime: Serving, caller: Reading) -> dict[str, Any]:
    """The apps that the key may see."""
    found = await entries.parts(runtime, _APPS)
    seen = [entries.item(name, part) for name, part in found.items() if _may_see(caller, name)]
    return {"items": seen, "next_cursor": None}


@router.post("", status_code=201)
async def create_app(request: Request, response: Response, runtime: Serving, caller: Writing) -> dict[str, Any]:
    """`{id, description?, models?, scenes?, limits?, budget?, unknown_role?, content?}`."""
    name, part = entries.named(await entries.body_of(request))
    return await entries.create(runtime, caller, _APPS, name, part, response)


@router.get("/{id}")
async def get_app(id: str, runtime: Serving, caller: Reading) -> dict[str, Any]:
    if not _may_see(caller, id):
        raise NotFound(f"There is no app `{id[:100]}`.", reason="app_not_found", param="id")
    return entries.item(id, await entries.part(runtime, _APPS, id))


@router.patch("/{id}")
async def change_app(
    id: str, request: Request, response: Response, runtime: Serving, caller: Writing
) -> dict[str, Any]:
    """A JSON merge patch of the app."""
    return await entries.change(runtime, caller, _APPS, id, await entries.body_of(request), response)


@router.delete("/{id}", status_code=204)
async def delete_app(id: str, runtime: Serving, caller: Writing) -> None:
    """The app's bounds go away; its keys stay, and should be revoked first."""
    await entries.remove(runtime, caller, _APPS, id)


def _may_see(caller: Caller, app: str) -> bool:
    return caller.app in (PLATFORM_APP, app)
