"""The calls that are being answered at this moment, by any worker."""

from time import monotonic

import msgspec
from fastapi import APIRouter
from msgspec import Struct
from pydantic import BaseModel

from dujiang.api.deps import Serving
from dujiang.api.records import Reading
from dujiang.core.call import Call
from dujiang.records.query import Scope
from dujiang.runtime import Runtime

router = APIRouter(prefix="/api/v1/records", tags=["records"])

_TOPIC = "in-flight"


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
    """`silent_workers` is how many workers did not say what they answer: their calls are not here."""

    items: list[InFlight]
    silent_workers: int
    next_cursor: None = None


class _Running(Struct):
    """As `InFlight`, between workers. `started` is in monotonic seconds, which all processes of a machine share."""

    id: str
    request_id: str
    app: str
    key_id: str
    endpoint: str
    model: str | None
    provider: str | None
    attempts: int
    started: float


@router.get("/in-flight")
async def in_flight(runtime: Serving, reader: Reading) -> InFlightList:
    """Every running call that this key may see, the oldest first."""
    told = await runtime.siblings.ask(_TOPIC, list[_Running])
    calls = [call for running in told.answers for call in running if _may_see(reader.scope, call)]
    now = monotonic()
    items = [
        InFlight.model_validate(msgspec.structs.asdict(call) | {"waited_ms": round((now - call.started) * 1000, 3)})
        for call in sorted(calls, key=lambda call: call.started)
    ]
    return InFlightList(items=items, silent_workers=told.silent)


def answer_siblings(runtime: Runtime) -> None:
    """Tell other workers which calls this one answers."""
    runtime.siblings.answer(_TOPIC, lambda: [_running(call) for call in runtime.calls])


def _running(call: Call) -> _Running:
    return _Running(
        id=call.id,
        request_id=call.request_id,
        app=call.caller.app,
        key_id=call.caller.key_id,
        endpoint=call.kind,
        model=call.model or None,
        provider=call.provider or None,
        attempts=len(call.attempts),
        started=call.started,
    )


def _may_see(scope: Scope, call: _Running) -> bool:
    return scope.app in (None, call.app) and scope.key_id in (None, call.key_id)
