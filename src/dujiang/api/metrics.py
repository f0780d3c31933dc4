"""The counters, for Prometheus."""

from fastapi import APIRouter, Request, Response

from dujiang.api.deps import Serving, holding_on_platform

router = APIRouter(tags=["health"])

_holding = holding_on_platform("metrics:read")


@router.get("/metrics", response_class=Response, responses={200: {"content": {"text/plain": {}}}})
async def metrics(request: Request, runtime: Serving) -> Response:
    """Needs `metrics:read`, unless the server was started with `--open-metrics`."""
    if not runtime.has_open_metrics:
        _holding(request, runtime)
    return Response(
        runtime.metrics.render(runtime.journal_counts(), runtime.config_counts()),
        media_type="text/plain; version=0.0.4; charset=utf-8",
    )
