"""What a management route may ask for: the runtime, and a caller who holds a permission."""

from collections.abc import Awaitable, Callable
from typing import Annotated

from fastapi import Depends, Request, Security
from fastapi.security import HTTPBearer

from dujiang.api.peer import require_address
from dujiang.core.call import Caller
from dujiang.core.errors import Forbidden
from dujiang.runtime import Runtime
from dujiang.storage.audit import Deed

PLATFORM_APP = "admin"
"""The built-in app; only its keys see what belongs to the platform as a whole."""

_scheme = HTTPBearer(auto_error=False, description="A key: `Bearer dj-…`")


def get_runtime(request: Request) -> Runtime:
    return request.app.state.runtime


Serving = Annotated[Runtime, Depends(get_runtime)]


def get_caller(request: Request, runtime: Serving) -> Caller:
    """The holder of the request's key. Raises `Unauthenticated`, and as `require_address`."""
    fields = [value for name, value in request.scope["headers"] if name == b"authorization"]
    caller = runtime.authenticate(fields[0] if len(fields) == 1 else None)
    if caller.networks:
        require_address(caller, request.scope, runtime.trusted_proxies)
    return caller


def holding(permission: str) -> Callable[..., Caller]:
    """A dependency: a caller whose roles give `permission`. Raises `Forbidden`."""

    def check(request: Request, runtime: Serving, _: Annotated[object, Security(_scheme)] = None) -> Caller:
        caller = get_caller(request, runtime)
        if permission not in runtime.rights(caller).permissions:
            raise Forbidden(f"This needs the permission `{permission}`.", reason="permission")
        return caller

    return check


def writing(permission: str, check: Callable[..., Caller]) -> Callable[..., Awaitable[Caller]]:
    """A dependency: as `check`, of a write. Who may not write leaves a row in the audit."""

    async def check_writer(
        request: Request, runtime: Serving, _: Annotated[object, Security(_scheme)] = None
    ) -> Caller:
        caller = get_caller(request, runtime)
        try:
            return check(request, runtime)
        except Forbidden:
            what = f"{request.method} {request.url.path}"[:200]
            reason = f"{what} needs the permission {permission}"
            deed = Deed(caller.key_id, request.method.lower(), request.url.path, "refused", reason)
            await runtime.configure(lambda config: config.audit.add(deed))
            raise

    return check_writer


def scope_of(caller: Caller) -> str | None:
    """The app whose objects a caller sees; None for the platform's keys, which see all."""
    return None if caller.app == PLATFORM_APP else caller.app


def holding_on_platform(permission: str) -> Callable[..., Caller]:
    """A dependency: as `holding`, for keys of the built-in app alone."""
    check = holding(permission)

    def check_platform(request: Request, runtime: Serving, _: Annotated[object, Security(_scheme)] = None) -> Caller:
        caller = check(request, runtime)
        if caller.app != PLATFORM_APP:
            raise Forbidden("This needs a key of the built-in app `admin`.", reason="platform")
        return caller

    return check_platform
