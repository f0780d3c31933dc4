"""The calls that are being answered at this moment."""

from time import monotonic

from fastapi import APIRouter
from pydantic import BaseModel

from dujiang.api.deps import Serving
from dujiang.api.records import Reading
from dujiang.core.call import Caller
from dujiang.records.query import Scope

router = APIRouter(prefix="/api/v1/records", tags=["records"])


class InFlight(BaseModel):
    """A call that has not ended. `waited_ms` is how long it has been running."""

    id: str
    request_id: str
    app: str
    key_id: str
    endpoint: str
    model: str | None
    provider: str | None
    attempts: int
    waited_ms: float


class InFlightList(BaseModel):
    items: list[InFlight]
    next_cursor: None = None


@router.get("/in-flight")
async def in_flight(runtime: Serving, reader: Reading) -> InFlightList:
    """Every running call that this key may see, the oldest first."""
    now = monotonic()
    calls = sorted(
        (call for call in runtime.calls if _may_see(reader.scope, call.caller)), key=lambda call: call.started
    )
    return InFlightList(
        items=[
            InFlight(
                id=call.id,
                request_id=call.request_id,
                app=call.caller.app,
                key_id=call.caller.key_id,
                endpoint=call.kind,
                model=call.model or None,
                provider=call.provider or None,
                attempts=len(call.attempts),
                waited_ms=round((now - call.started) * 1000, 3),
            )
            for call in calls
        ]
    )


def _may_see(scope: Scope, caller: Caller) -> bool:
    return scope.app in (None, caller.app) and scope.key_id in (None, caller.key_id)
