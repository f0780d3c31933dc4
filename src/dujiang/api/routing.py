"""How a call would be routed, without making it."""

from time import monotonic
from typing import Annotated

from fastapi import APIRouter, Depends, Request
from msgspec import structs
from pydantic import BaseModel

from dujiang.api.deps import PLATFORM_APP, Serving, holding
from dujiang.api.records import Money
from dujiang.api.seen_targets import seen_here
from dujiang.api.targets import TargetItem
from dujiang.api.wire import native
from dujiang.core.call import Call, Caller
from dujiang.core.ids import new_id
from dujiang.resilience.model import Model

router = APIRouter(prefix="/api/v1/routing", tags=["routing"])

Reading = Annotated[Caller, Depends(holding("routing:read"))]


class CandidateItem(BaseModel):
    """A model that might answer, in the order in which they would be asked. The figures are those of `auto`."""

    model: str
    expected_quality: float | None = None
    interval: tuple[float, float] | None = None
    expected_cost: Money | None = None
    excluded_because: str | None = None


class TargetView(TargetItem):
    """A target of the chosen model as the worker sees it that was asked. `is_ready`: the call could be sent there."""

    is_ready: bool


class Explanation(BaseModel):
    """`route` is the one of `auto` that decides; `targets` are for keys of the app `admin` alone."""

    route: str | None
    chosen: str
    reason: str
    candidates: list[CandidateItem]
    targets: list[TargetView]


@router.post("/explain")
async def explain(request: Request, runtime: Serving, caller: Reading) -> Explanation:
    """Plan the call that a chat body asks for, and tell how. Nothing is sent, counted or recorded."""
    body = await request.body()
    snapshot = runtime.snapshot
    now = monotonic()
    call = Call(new_id(), "explain", native.parse, caller, now, now + snapshot.total_s, snapshot.revision)
    call.body = body
    call.request_bytes = len(body)
    (await snapshot.planner(call)).close()
    model = snapshot.models[call.plan.steps[0].model]
    fallbacks = (_candidate(call, snapshot.models[name]) for name in model.fallbacks["failed"])
    return Explanation(
        route=None,
        chosen=model.name,
        reason=call.plan.reason,
        candidates=[_candidate(call, model), *fallbacks],
        targets=_targets(call, model) if caller.app == PLATFORM_APP else [],
    )


def _candidate(call: Call, model: Model) -> CandidateItem:
    excluded = None
    if not call.rights.allows_model(model.name):
        excluded = "not_allowed"
    elif not model.targets:
        excluded = "misconfigured"
    elif not model.ready(call):
        excluded = "no_target"
    return CandidateItem(model=model.name, excluded_because=excluded)


def _targets(call: Call, model: Model) -> list[TargetView]:
    now = monotonic()
    ready = model.ready(call)
    return [
        TargetView(**structs.asdict(seen_here(model.name, target, now)), is_ready=target in ready)
        for target in model.targets
    ]
