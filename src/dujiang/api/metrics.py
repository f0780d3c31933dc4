"""The counters of all workers, for Prometheus."""

from fastapi import APIRouter, Request, Response

from dujiang.api.deps import Serving, holding_on_platform
from dujiang.chat.model_counts import count_models
from dujiang.runtime import Runtime
from dujiang.siblings.kept_counts import METRICS
from dujiang.telemetry.counts import Sample
from dujiang.telemetry.metrics import render

router = APIRouter(tags=["health"])

_holding = holding_on_platform("metrics:read")


@router.get("/metrics", response_class=Response, responses={200: {"content": {"text/plain": {}}}})
async def metrics(request: Request, runtime: Serving) -> Response:
    """Needs `metrics:read`, unless the server was started with `--open-metrics`."""
    if not runtime.has_open_metrics:
        _holding(request, runtime)
    told = await runtime.siblings.ask(METRICS, Sample)
    return Response(
        render(told.answers, runtime.siblings.count, told.silent),
        media_type="text/plain; version=0.0.4; charset=utf-8",
    )


def answer_siblings(runtime: Runtime) -> None:
    """Tell other workers what this one counted."""
    runtime.siblings.answer(METRICS, lambda: _sample(runtime))


def _sample(runtime: Runtime) -> Sample:
    models = count_models(runtime.snapshot.models)
    number = runtime.siblings.number
    return runtime.metrics.sample(number, runtime.journal_counts(), runtime.config_counts(), models)
