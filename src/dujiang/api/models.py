"""The models that a caller may ask for, as OpenAI's API lists them."""

from typing import Annotated

from fastapi import APIRouter, Depends
from pydantic import BaseModel

from dujiang.api.deps import Serving, holding
from dujiang.core.call import Caller
from dujiang.core.errors import NotFound
from dujiang.runtime import Runtime

router = APIRouter(tags=["openai"])


class ModelCard(BaseModel):
    id: str
    object: str = "model"
    created: int
    owned_by: str


class ModelList(BaseModel):
    object: str = "list"
    data: list[ModelCard]


Asking = Annotated[Caller, Depends(holding("chat:call"))]


@router.get("/v1/models")
async def list_models(runtime: Serving, caller: Asking) -> ModelList:
    """Every model and alias that this key may ask for and that can be asked."""
    return ModelList(data=_cards(runtime, caller))


@router.get("/v1/models/{model:path}")
async def get_model(model: str, runtime: Serving, caller: Asking) -> ModelCard:
    for card in _cards(runtime, caller):
        if card.id == model:
            return card
    raise NotFound(f"The model `{model[:100]}` does not exist.", reason="model_not_found", param="model")


def _cards(runtime: Runtime, caller: Caller) -> list[ModelCard]:
    catalog = runtime.snapshot.catalog
    rights = runtime.rights(caller)
    cards: list[ModelCard] = []
    for name, plan in catalog.plans.items():
        model = catalog.models[plan.steps[0].model]
        if model.targets and rights.allows_model(model.name):
            cards.append(ModelCard(id=name, created=runtime.started_at_s, owned_by=model.targets[0].provider))
    return cards
