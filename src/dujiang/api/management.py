"""The management application: everything that is not a chat call."""

from fastapi import FastAPI

from dujiang import __version__
from dujiang.api import (
    apps,
    budgets,
    catalogue,
    config,
    docs,
    health,
    in_flight,
    keys,
    me,
    metrics,
    models,
    records,
    roles,
    routing,
    scenes,
    targets,
    unbuilt,
    users,
)
from dujiang.api.errors import install_error_handlers
from dujiang.runtime import Runtime


def create_management(runtime: Runtime) -> FastAPI:
    """An application of FastAPI over a runtime."""
    app = FastAPI(
        title="Dujiang 都江",
        description="One AI backend for many apps.",
        version=__version__,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    app.state.runtime = runtime
    for module in (
        health,
        models,
        metrics,
        in_flight,
        records,
        config,
        apps,
        roles,
        scenes,
        catalogue,
        targets,
        routing,
        keys,
        users,
        me,
        budgets,
        docs,
        unbuilt,
    ):
        app.include_router(module.router)
    install_error_handlers(app)
    docs.install_schema(app)
    return app
