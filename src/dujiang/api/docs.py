"""The interactive documentation at `/docs`, from our own assets, and the schema of the whole API."""

from importlib.resources import files
from typing import Any

import msgspec
from fastapi import APIRouter, FastAPI
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.openapi.utils import get_openapi
from fastapi.responses import HTMLResponse, Response

from dujiang import __version__
from dujiang.api.wire import native, openai
from dujiang.core.errors import NotFound

router = APIRouter(include_in_schema=False)

_ASSETS = {
    "swagger-ui-bundle.js": "text/javascript",
    "swagger-ui.css": "text/css",
    "favicon.png": "image/png",
}
_ERRORS = {
    400: "The request is not valid; `param` names the field",
    401: "No key, or not a valid one",
    403: "The key or the claimed role may not",
    404: "No such model or scene",
    413: "The body is too large",
    422: "A variable of the scene is bad or missing",
    429: "A limit was reached, here or at the model's service",
    501: "A declared part that is not built yet",
    502: "The model's service failed",
    503: "The model cannot be asked now",
    504: "The model did not answer in time",
}


@router.get("/docs")
async def docs() -> HTMLResponse:
    return get_swagger_ui_html(
        openapi_url="/openapi.json",
        title="Dujiang API",
        swagger_js_url="/docs/assets/swagger-ui-bundle.js",
        swagger_css_url="/docs/assets/swagger-ui.css",
        swagger_favicon_url="/docs/assets/favicon.png",
    )


@router.get("/docs/assets/{name}")
async def asset(name: str) -> Response:
    media_type = _ASSETS.get(name)
    if media_type is None:
        raise NotFound("There is no such asset.")
    data = files("fastapi_offline").joinpath("static", name).read_bytes()
    return Response(data, media_type=media_type, headers={"Cache-Control": "max-age=86400"})


def install_schema(app: FastAPI) -> None:
    """Serve one OpenAPI document for the routes of the framework and the endpoints beside it."""

    def schema() -> dict[str, Any]:
        if app.openapi_schema is None:
            made = get_openapi(title=app.title, version=__version__, description=app.description, routes=app.routes)
            _add_chat(made)
            app.openapi_schema = made
        return app.openapi_schema

    app.openapi = schema


def _add_chat(schema: dict[str, Any]) -> None:
    bodies = {"/api/v1/chat/completions": native.ChatBody, "/v1/chat/completions": openai.ChatBody}
    names = {native.ChatBody: "NativeChat", openai.ChatBody: "OpenAIChat"}
    refs, components = msgspec.json.schema_components(list(bodies.values()), ref_template="#/components/schemas/{name}")
    schema.setdefault("components", {}).setdefault("schemas", {}).update(components)
    security: list[dict[str, list[str]]] = [{"HTTPBearer": []}]
    for (path, body), ref in zip(bodies.items(), refs, strict=True):
        schema["paths"][path] = {
            "post": {
                "tags": ["chat"],
                "summary": "Ask a model",
                "operationId": names[body],
                "security": security,
                "requestBody": {"required": True, "content": {"application/json": {"schema": ref}}},
                "responses": {
                    "200": {
                        "description": "The answer, whole, or as server-sent events when `stream` is true",
                        "content": {"application/json": {}, "text/event-stream": {}},
                    },
                    **{str(status): {"description": text} for status, text in _ERRORS.items()},
                },
            }
        }
