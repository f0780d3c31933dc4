"""The stage that turns a scene into messages, a locked model and parameters."""

from collections.abc import Awaitable, Container
from copy import copy

from dujiang.core.call import Call, SceneChoice
from dujiang.core.protocols import Handler, Stage
from dujiang.core.reply import Reply
from dujiang.scenes.compiled import Scenes, Version
from dujiang.scenes.locks import check_locks, is_set


def render(scenes: Scenes, schema_models: Container[str] = ()) -> Stage:
    """Renders the scene that a call asked for, if it asked for one.

    The scene's messages come first, then the caller's. Its model is locked: it replaces the one the caller named. Its
    parameters are defaults: the caller's own win, but for the locked ones. An output schema goes to the models among
    `schema_models` as their `response_format`, to others in words.

    Refuses with `NotFound` (scene, version or label), `InvalidRequest` (an id that can be none), `Forbidden`, and
    `Unprocessable` (variables, locked parameters).
    """

    def wrap(handler: Handler) -> Handler:
        def rendered(call: Call) -> Awaitable[Reply]:
            choice = call.parsed.scene
            if choice is not None:
                _apply(scenes.choose(choice, call), choice, call, schema_models)
            return handler(call)

        return rendered

    return wrap


def _apply(version: Version, choice: SceneChoice, call: Call, schema_models: Container[str]) -> None:
    asked = call.request
    if version.locks:
        check_locks(version.locks, asked)
    messages = version.messages(choice.variables)
    request = copy(asked)
    for name, value in version.parameters:
        if not is_set(asked, name):
            setattr(request, name, value)
    if version.model is not None:
        request.model = version.model
    if version.output is not None:
        if request.model in schema_models:
            request.response_format = version.output.response_format
        else:
            messages = version.output.instruct(messages)
    request.messages = [*messages, *asked.messages]
    call.request = request
    call.scene = SceneChoice(choice.id, version.number, choice.label, choice.variables)
