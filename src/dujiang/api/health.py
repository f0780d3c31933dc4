"""Is it alive, is it ready, and how are its parts, in the worst state that any worker tells."""

from collections.abc import Sequence
from time import monotonic
from typing import Annotated, Any, Literal, get_args

import msgspec
from fastapi import APIRouter, Depends, Request, Response
from msgspec import Struct, structs
from pydantic import BaseModel

from dujiang import __version__
from dujiang.api.deps import PLATFORM_APP, Serving, get_caller
from dujiang.core.errors import AppError
from dujiang.records.journal import JournalState
from dujiang.runtime import Runtime

router = APIRouter(tags=["health"])

_TOPIC = "health"
State = Literal[
    "unconfigured",
    "ejected",
    "open",
    "half_open",
    "parked",
    "failing",
    "cooling",
    "drained",
    "ok",
    "unused",
]
_ORDER = get_args(State)
"""Of a target in several workers, with several credentials or in several models, the first of these is shown."""


_WELL = {"ok", "unused", "unconfigured", "drained"}


class TargetHealth(Struct, omit_defaults=True):
    """How a target is; `unconfigured` where something is missing that an operator must give."""

    state: State
    since: str | None = None
    reason: str | None = None


Providers = dict[str, dict[str, TargetHealth]]


class WorkerHealth(Struct):
    """How one worker sees things. `stale` is why a newer revision cannot be taken up; None where there is none."""

    is_draining: bool
    revision: int
    stale: str | None
    database: str
    store: str
    journal: JournalState
    providers: Providers

    @property
    def is_well(self) -> bool:
        return (
            self.stale is None
            and (self.database, self.store, self.journal.status) == ("ok", "ok", "ok")
            and all(target.state in _WELL for targets in self.providers.values() for target in targets.values())
        )


class Health(BaseModel):
    """Components and what follows are shown to platform keys with `health:read` alone."""

    status: Literal["ok", "degraded", "down"]
    version: str
    uptime_s: float
    components: dict[str, Any] | None = None
    config_revision: int | None = None
    config_stale: str | None = None
    not_in_effect: list[str] | None = None


@router.get("/health/live", summary="The process answers")
async def live() -> dict[str, str]:
    return {"status": "ok"}


@router.get("/health/ready", summary="Calls are accepted", responses={503: {"description": "Not ready"}})
async def ready(runtime: Serving, response: Response) -> dict[str, str]:
    if runtime.is_draining:
        response.status_code = 503
        return {"status": "draining"}
    return {"status": "ok"}


def may_see_components(request: Request, runtime: Serving) -> bool:
    """Whether a key came along that may see more than the summary. A wrong key sees the summary, too, and so does one
    from an address that it may not be used from.
    """
    try:
        caller = get_caller(request, runtime)
    except AppError:
        return False
    return caller.app == PLATFORM_APP and "health:read" in runtime.rights(caller).permissions


@router.get("/api/v1/health", response_model_exclude_none=True)
async def health(runtime: Serving, is_detailed: Annotated[bool, Depends(may_see_components)]) -> Health:
    """The state of the service, and of each part for those who may see it."""
    told = await runtime.siblings.ask(_TOPIC, WorkerHealth)
    found = _worst(told.answers)
    status = "down" if found.is_draining else "ok" if found.is_well and not told.silent else "degraded"
    summary = Health(status=status, version=__version__, uptime_s=round(runtime.metrics.uptime_s, 3))
    if is_detailed:
        summary.components = {
            "database": found.database,
            "store": found.store,
            "workers": {"count": runtime.siblings.count, "silent": told.silent},
            "journal": msgspec.to_builtins(found.journal),
            "providers": msgspec.to_builtins(found.providers),
        }
        summary.config_revision = found.revision
        summary.config_stale = found.stale
        summary.not_in_effect = list(runtime.snapshot.not_in_effect)
    return summary


def answer_siblings(runtime: Runtime) -> None:
    """Tell other workers how this one sees things."""
    runtime.siblings.answer(_TOPIC, lambda: _of_this_worker(runtime))


def _of_this_worker(runtime: Runtime) -> WorkerHealth:
    return WorkerHealth(
        runtime.is_draining,
        runtime.snapshot.revision,
        runtime.config_trouble,
        runtime.database_state,
        runtime.store.state(),
        runtime.journal.state(),
        _providers(runtime),
    )


def _worst(workers: Sequence[WorkerHealth]) -> WorkerHealth:
    """All workers as if they were one, as bad as the worst of them in each part. There is at least one."""
    return WorkerHealth(
        any(each.is_draining for each in workers),
        min(each.revision for each in workers),
        next((each.stale for each in workers if each.stale is not None), None),
        _first_trouble([each.database for each in workers]),
        _first_trouble([each.store for each in workers]),
        _one_journal([each.journal for each in workers]),
        _merged([each.providers for each in workers]),
    )


def _first_trouble(states: Sequence[str]) -> str:
    return next((state for state in states if state != "ok"), "ok")


def _one_journal(states: Sequence[JournalState]) -> JournalState:
    """What each worker did is summed up; the directory, and so the backlog, is one for all."""
    worst = min(states, key=lambda state: (state.status == "ok", state.since or 0.0))
    return structs.replace(
        worst,
        last_error=next((state.last_error for state in states if state.last_error is not None), None),
        appended=sum(state.appended for state in states),
        dropped=sum(state.dropped for state in states),
    )


def _merged(workers: Sequence[Providers]) -> Providers:
    found: Providers = {}
    for providers in workers:
        for name, targets in providers.items():
            known = found.setdefault(name, {})
            for target, health in targets.items():
                known[target] = _worse(known.get(target), health)
    return found


def _worse(known: TargetHealth | None, other: TargetHealth) -> TargetHealth:
    return known if known is not None and worse_state(known.state, other.state) == known.state else other


def worse_state(one: str, other: str) -> str:
    """The one of two states of a target that matters more."""
    return min(one, other, key=_ORDER.index)


def _providers(runtime: Runtime) -> Providers:
    snapshot = runtime.snapshot
    found: Providers = {name: {} for name in snapshot.services}
    now = monotonic()
    for model in snapshot.catalog.models.values():
        for target in model.targets:
            targets, standing = found[target.provider], target.standing(now)
            targets[target.name] = _worse(targets.get(target.name), TargetHealth(*standing))
    for name, service in snapshot.services.items():
        for credential, reason in service.unusable.items():
            found[name][f"credentials.{credential}"] = TargetHealth("unconfigured", None, reason)
        if service.missing:
            found[name]["*"] = TargetHealth("unconfigured", None, service.missing)
    return found
