"""The stage that turns a model's name into a plan."""

import difflib
from collections.abc import Awaitable
from typing import Any

from dujiang.core.call import Call
from dujiang.core.errors import InvalidRequest, NotBuilt, NotFound
from dujiang.core.protocols import Handler, Stage
from dujiang.core.reply import Reply
from dujiang.routing.catalog import Catalog


def route(catalog: Catalog[Any]) -> Stage:
    """Plan a call to the model it names. Raises `NotFound` for a name that is no model's."""
    plans = catalog.plans

    def stage(handler: Handler) -> Handler:
        def routed(call: Call) -> Awaitable[Reply]:
            plan = plans.get(call.request.model)
            if plan is None:
                raise _explain(call.request.model, catalog)
            call.plan = plan
            return handler(call)

        return routed

    return stage


def _explain(name: str, catalog: Catalog[Any]) -> InvalidRequest | NotFound | NotBuilt:
    if not name:
        return InvalidRequest("Name a `model`.", param="model")
    if name == "auto" or name.startswith("auto:"):
        return NotBuilt("Dynamic model selection (`auto`) is not built yet; name a model.", param="model")
    near = difflib.get_close_matches(name[:100], catalog.plans, n=1)
    hint = f" Did you mean `{near[0]}`?" if near else ""
    return NotFound(f"The model `{name[:100]}` does not exist.{hint}", reason="model_not_found", param="model")
