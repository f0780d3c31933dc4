"""The targets of all models: how each is, and an operator's words about them."""

from typing import Annotated

import msgspec
from fastapi import APIRouter, Depends, Request
from pydantic import BaseModel, ConfigDict, Field

from dujiang.api import entries
from dujiang.api.deps import Serving, holding_on_platform, writing
from dujiang.api.seen_targets import ask_all
from dujiang.core.call import Caller
from dujiang.core.errors import Conflict, InvalidRequest, NotFound
from dujiang.runtime import Runtime
from dujiang.storage.holds import Selection, State

router = APIRouter(prefix="/api/v1/targets", tags=["routing"])

Reading = Annotated[Caller, Depends(holding_on_platform("health:read"))]
Writing = Annotated[Caller, Depends(writing("models:write", holding_on_platform("models:write")))]


class TargetItem(BaseModel):
    """A target in all workers: the worst state that any tells, and the sum of what they serve and may serve."""

    model: str
    provider: str
    target: str
    credential: str
    weight: float
    state: str
    since: str | None
    reason: str | None
    in_flight: int
    limit: int


class ModelQueue(BaseModel):
    """How many calls of a model have a place, and how many wait for one."""

    model: str
    inside: int
    waiting: int


class TargetList(BaseModel):
    """`silent_workers` is how many workers did not say how they see things."""

    items: list[TargetItem]
    queues: list[ModelQueue]
    silent_workers: int
    next_cursor: None = None


class TargetSelection(BaseModel):
    """Some targets, by any of these names."""

    model_config = ConfigDict(extra="forbid")

    provider: Annotated[str, Field(max_length=128)] = ""
    target: Annotated[str, Field(max_length=300, description="`provider/model`, as in records")] = ""
    credential: Annotated[str, Field(max_length=128)] = ""


class TargetWord(TargetSelection):
    """What is said of them, and why."""

    reason: Annotated[str, Field(min_length=1, max_length=500)]


@router.get("")
async def list_targets(runtime: Serving, _: Reading) -> TargetList:
    """Every target of every model, in the order of the document."""
    seen = await ask_all(runtime)
    return TargetList(
        items=[TargetItem(**msgspec.structs.asdict(each)) for each in seen.targets],
        queues=[ModelQueue(**msgspec.structs.asdict(each)) for each in seen.queues],
        silent_workers=seen.silent,
    )


@router.post("/drain", openapi_extra=entries.described(TargetWord), status_code=204)
async def drain(request: Request, runtime: Serving, caller: Writing) -> None:
    """Let no new call to some targets until they are restored, though nothing is wrong: those under way go on."""
    await _hold(request, runtime, caller, "drained")


@router.post("/eject", openapi_extra=entries.described(TargetWord), status_code=204)
async def eject(request: Request, runtime: Serving, caller: Writing) -> None:
    """Let no new call to some targets until they are restored, because something is wrong: health is degraded."""
    await _hold(request, runtime, caller, "ejected")


@router.post("/restore", openapi_extra=entries.described(TargetSelection), status_code=204)
async def restore(request: Request, runtime: Serving, caller: Writing) -> None:
    """Put some targets back, all where none are named, and take them for well: breakers close, cool-downs end, what
    was parked is asked again. Some alone of those that were taken out by one word cannot be.
    """
    of = _selected(runtime, await entries.read_body(request, TargetSelection))
    _require_whole_words(runtime, of)
    await runtime.release(caller, of)


async def _hold(request: Request, runtime: Runtime, caller: Caller, state: State) -> None:
    word = await entries.read_body(request, TargetWord)
    of = _selected(runtime, word)
    if of == Selection():
        raise InvalidRequest("Name a `provider`, a `target` or a `credential`.", param="target")
    await runtime.hold(caller, of, state, word.reason)


def _selected(runtime: Runtime, asked: TargetSelection) -> Selection:
    """Raises `NotFound` where no target is meant."""
    of = Selection(asked.provider, asked.target, asked.credential)
    targets = runtime.snapshot.targets()
    if of != Selection() and not any(of.covers(each.provider, each.name, each.credential) for each in targets):
        raise NotFound("There is no such target; `GET /api/v1/targets` lists them.", reason="no_such_target")
    return of


def _require_whole_words(runtime: Runtime, of: Selection) -> None:
    """Raises `Conflict` where some of the targets would stay out, by a word that others are out by, too."""
    wider = [hold.of for hold in runtime.holds.held if not of.includes(hold.of)]
    for target in runtime.snapshot.targets():
        place = (target.provider, target.name, target.credential)
        held = next((word for word in wider if word.covers(*place)), None) if of.covers(*place) else None
        if held is not None:
            raise Conflict(f"`{target.name}` is out by a word about {held}: restore that.", reason="held")
