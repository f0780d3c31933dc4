"""Errors of the management application, answered in the format of the path they happened on."""

from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from dujiang.api.wire import native, openai
from dujiang.core.errors import AppError, InvalidRequest, MethodNotAllowed, NotFound, Unprocessable


def answer_error(request: Request, error: AppError, headers: dict[str, str] | None = None) -> Response:
    """An error in OpenAI's body under `/v1/`, in the native envelope everywhere else."""
    wire: Any = openai if request.scope["path"].startswith("/v1/") else native
    fields = dict(headers or {})
    if error.status == 401:
        fields["WWW-Authenticate"] = "Bearer"
    return Response(
        wire.render_error(error, request.scope["request_id"], None), error.status, fields, "application/json"
    )


def install_error_handlers(app: FastAPI) -> None:
    """Every error of the framework becomes one of ours before it is answered."""

    @app.exception_handler(AppError)
    async def app_error(request: Request, error: AppError) -> Response:
        return answer_error(request, error)

    @app.exception_handler(HTTPException)
    async def http_error(request: Request, error: HTTPException) -> Response:
        if error.status_code == 404:
            return answer_error(request, NotFound("There is nothing at this address; see /docs for what there is."))
        if error.status_code == 405:
            refused = MethodNotAllowed("This address does not take that method; see /docs.")
            return answer_error(request, refused, dict(error.headers or {}))
        return answer_error(request, InvalidRequest(str(error.detail)))

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> Response:
        first = error.errors()[0]
        where, *path = first["loc"]
        kind = Unprocessable if where == "body" else InvalidRequest
        name = ".".join(map(str, path))
        return answer_error(request, kind(f"`{name or where}`: {first['msg']}.", param=name or None))
