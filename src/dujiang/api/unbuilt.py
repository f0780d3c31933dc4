"""Addresses that the contract declares and this release does not have: they say so instead of pretending to be lost."""

from fastapi import APIRouter, Depends

from dujiang.api.deps import get_caller
from dujiang.core.errors import NotBuilt

UNBUILT: dict[str, str] = {
    "/api/v1/schedule": "The schedule planner",
    "/api/v1/routing": "Routing",
    "/api/v1/feedback": "Feedback",
    "/api/v1/cache": "The cache",
    "/v1/embeddings": "Embeddings",
    "/v1/responses": "The responses API",
    "/v1/messages": "The messages API",
}

_METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE"]

router = APIRouter(include_in_schema=False, dependencies=[Depends(get_caller)])


def _declare(prefix: str, what: str) -> None:
    async def unbuilt() -> None:
        raise NotBuilt(f"{what} ({prefix}) is not built yet in this release.")

    router.add_api_route(prefix, unbuilt, methods=_METHODS)
    router.add_api_route(prefix + "/{rest:path}", unbuilt, methods=_METHODS)


for _prefix, _what in UNBUILT.items():
    _declare(_prefix, _what)
