"""The catalogue of models: what each can do, costs and how it is; and the door by which models are written."""

from time import monotonic
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request, Response

from dujiang.api import entries
from dujiang.api.deps import PLATFORM_APP, Serving, holding, holding_on_platform, writing
from dujiang.core.call import Caller
from dujiang.core.errors import NotFound
from dujiang.runtime import Runtime

router = APIRouter(prefix="/api/v1/models", tags=["routing"])

Reading = Annotated[Caller, Depends(holding("models:read"))]
Writing = Annotated[Caller, Depends(writing("models:write", holding_on_platform("models:write")))]

_MODELS = "models"
_SHOWN = ("version", "abilities", "price", "quality")
"""What anybody may see of a model; where it is asked concerns the platform."""


@router.get("")
async def list_models(runtime: Serving, caller: Reading) -> dict[str, Any]:
    """The models that the key may ask for: price, abilities, health."""
    found = await entries.parts(runtime, _MODELS)
    rights = runtime.rights(caller)
    items = [_item(runtime, caller, name, part) for name, part in found.items() if rights.allows_model(name)]
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
    return _item(runtime, caller, id, await entries.part(runtime, _MODELS, id))


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


def _item(runtime: Runtime, caller: Caller, name: str, part: dict[str, Any]) -> dict[str, Any]:
    catalog = runtime.snapshot.catalog
    model = catalog.models.get(name)
    targets = model.targets if model is not None else ()
    now = monotonic()
    standings = [target.standing(now) for target in targets]
    is_failing = all(standing.state not in {"ok", "unused"} for standing in standings)
    health = "unconfigured" if not standings else "failing" if is_failing else "ok"
    shown = {key: part.get(key) for key in _SHOWN}
    found = {"id": name, **shown, "health": health, "aliases": [a for a, to in catalog.aliases.items() if to == name]}
    if caller.app == PLATFORM_APP:
        found |= {
            "targets": part["targets"],
            "target_health": [
                {
                    "target": target.name,
                    "credential": target.credential,
                    "state": standing.state,
                    "since": standing.since,
                    "reason": standing.reason,
                    "in_flight": target.load.in_flight,
                    "limit": target.load.limit.limit,
                }
                for target, standing in zip(targets, standings, strict=True)
            ],
        }
    return found
