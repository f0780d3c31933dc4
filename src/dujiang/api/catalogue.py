"""The catalogue of models: what each can do, costs and how it is; and the door by which models are written."""

from collections.abc import Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request, Response

from dujiang.api import entries
from dujiang.api.deps import PLATFORM_APP, Serving, holding, holding_on_platform, writing
from dujiang.api.seen_targets import SeenTarget, ask_all
from dujiang.core.call import Caller
from dujiang.core.errors import NotFound
from dujiang.runtime import Runtime

router = APIRouter(prefix="/api/v1/models", tags=["routing"])

Reading = Annotated[Caller, Depends(holding("models:read"))]
Writing = Annotated[Caller, Depends(writing("models:write", holding_on_platform("models:write")))]

_MODELS = "models"
_SHOWN = ("version", "abilities", "price", "quality")
"""What anybody may see of a model; where it is asked concerns the platform."""

_WELL = {"ok", "unused"}
_TOLD = ("target", "credential", "state", "since", "reason", "in_flight", "limit")


@router.get("")
async def list_models(runtime: Serving, caller: Reading) -> dict[str, Any]:
    """The models that the key may ask for: price, abilities, health."""
    found = await entries.parts(runtime, _MODELS)
    rights = runtime.rights(caller)
    seen = (await ask_all(runtime)).by_model()
    items = [
        _item(runtime, caller, seen.get(name, ()), name, part)
        for name, part in found.items()
        if rights.allows_model(name)
    ]
    return {"items": items, "next_cursor": None}


@router.post("", status_code=201)
async def create_model(request: Request, response: Response, runtime: Serving, caller: Writing) -> dict[str, Any]:
    """`{id, targets[], version?, abilities?, price?, quality?, resilience?}`, as in the document."""
    name, part = entries.named(await entries.body_of(request))
    return await entries.create(runtime, caller, _MODELS, name, part, response)


@router.get("/{id:path}")
async def get_model(id: str, runtime: Serving, caller: Reading) -> dict[str, Any]:
    if not runtime.rights(caller).allows_model(id):
        raise NotFound(f"There is no model `{id[:100]}`.", reason="model_not_found", param="id")
    part = await entries.part(runtime, _MODELS, id)
    seen = (await ask_all(runtime)).by_model()
    return _item(runtime, caller, seen.get(id, ()), id, part)


@router.patch("/{id:path}")
async def change_model(
    id: str, request: Request, response: Response, runtime: Serving, caller: Writing
) -> dict[str, Any]:
    """A JSON merge patch of the model."""
    return await entries.change(runtime, caller, _MODELS, id, await entries.body_of(request), response)


@router.delete("/{id:path}", status_code=204)
async def delete_model(id: str, runtime: Serving, caller: Writing) -> None:
    """A model that aliases, routes, scenes or fallbacks refer to stays."""
    await entries.remove(runtime, caller, _MODELS, id)


def _item(
    runtime: Runtime, caller: Caller, targets: Sequence[SeenTarget], name: str, part: dict[str, Any]
) -> dict[str, Any]:
    is_failing = all(target.state not in _WELL for target in targets)
    aliases = [alias for alias, to in runtime.snapshot.catalog.aliases.items() if to == name]
    shown = {key: part.get(key) for key in _SHOWN}
    health = "unconfigured" if not targets else "failing" if is_failing else "ok"
    found = {"id": name, **shown, "health": health, "aliases": aliases}
    if caller.app == PLATFORM_APP:
        found |= {"targets": part["targets"], "target_health": [_told(target) for target in targets]}
    return found


def _told(target: SeenTarget) -> dict[str, Any]:
    return {name: getattr(target, name) for name in _TOLD}
