"""Is it alive, is it ready, and how are its parts."""

from typing import Annotated, Any, Literal

import msgspec
from fastapi import APIRouter, Depends, Request, Response
from pydantic import BaseModel

from dujiang import __version__
from dujiang.api.deps import PLATFORM_APP, Serving, get_caller
from dujiang.core.errors import AppError
from dujiang.runtime import Runtime

router = APIRouter(tags=["health"])

_ORDER = ("failing", "ok", "unused")
"""Of a target with several credentials, or in several models, the first of these is shown."""


class TargetHealth(BaseModel):
    """`state` is what calls met last: `ok`, `failing`, `unused` before the first, or `unconfigured`."""

    state: Literal["ok", "failing", "unused", "unconfigured"]
    since: str | None
    reason: str | None


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
    providers = _providers(runtime)
    is_degraded = (
        runtime.config_trouble is not None
        or runtime.journal.state().status != "ok"
        or runtime.database_state != "ok"
        or any(target.state == "failing" for targets in providers.values() for target in targets.values())
    )
    status = "down" if runtime.is_draining else "degraded" if is_degraded else "ok"
    summary = Health(status=status, version=__version__, uptime_s=round(runtime.metrics.uptime_s, 3))
    if is_detailed:
        summary.components = {
            "database": runtime.database_state,
            "journal": msgspec.to_builtins(runtime.journal.state()),
            "providers": providers,
        }
        summary.config_revision = runtime.snapshot.revision
        summary.config_stale = runtime.config_trouble
        summary.not_in_effect = list(runtime.snapshot.unheeded.paths)
    return summary


def _providers(runtime: Runtime) -> dict[str, dict[str, TargetHealth]]:
    snapshot = runtime.snapshot
    found: dict[str, dict[str, TargetHealth]] = {name: {} for name in snapshot.services}
    for model in snapshot.catalog.models.values():
        for target in model.targets:
            targets, load = found[target.provider], target.load
            known = targets.get(target.name)
            if known is None or _ORDER.index(load.state) < _ORDER.index(known.state):
                targets[target.name] = TargetHealth(state=load.state, since=load.since, reason=load.reason)
    for name, service in snapshot.services.items():
        for credential, reason in service.unusable.items():
            found[name][f"credentials.{credential}"] = TargetHealth(state="unconfigured", since=None, reason=reason)
        if service.missing:
            found[name]["*"] = TargetHealth(state="unconfigured", since=None, reason=service.missing)
    return found
