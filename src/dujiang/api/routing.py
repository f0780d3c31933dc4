"""How a call would be routed, without making it."""

from time import monotonic
from typing import Annotated

from fastapi import APIRouter, Depends, Request
from pydantic import BaseModel

from dujiang.api.deps import PLATFORM_APP, Serving, holding
from dujiang.api.records import Money
from dujiang.api.wire import native
from dujiang.core.call import Call, Caller
from dujiang.core.errors import BodyTooLarge
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


class TargetView(BaseModel):
    """A target of the chosen model. `is_ready`: the call could be sent there now."""

    target: str
    credential: str
    weight: float
    is_ready: bool
    state: str
    since: str | None
    reason: str | None
    in_flight: int
    limit: int


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
    if len(body) > runtime.body_limit_bytes:
        raise BodyTooLarge(f"The body is larger than {runtime.body_limit_bytes} bytes.")
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
        TargetView(
            target=target.name,
            credential=target.credential,
            weight=round(target.weight, 6),
            is_ready=target in ready,
            in_flight=target.load.in_flight,
            limit=target.load.limit.limit,
            **target.standing(now)._asdict(),
        )
        for target in model.targets
    ]
