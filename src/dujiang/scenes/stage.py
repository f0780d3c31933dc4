"""The stage that turns a scene into messages, a locked model and default parameters."""

from collections.abc import Awaitable
from typing import Any

from msgspec.structs import replace

from dujiang.core.call import Call, SceneChoice
from dujiang.core.chat import ChatRequest
from dujiang.core.errors import NotBuilt
from dujiang.core.protocols import Handler, Stage
from dujiang.core.reply import Reply
from dujiang.scenes.compiled import PROMPT_ID, Scenes, Version


def render(scenes: Scenes) -> Stage:
    """Renders the scene that a call asked for, if it asked for one.

    The scene's messages come first, then the caller's. Its model is locked: it replaces the one the caller named. Its
    parameters are defaults: the caller's own win.

    Refuses with `NotFound` (scene, version or label), `InvalidRequest` (an id that can be none), `Unprocessable`
    (variables) and `NotBuilt`.
    """

    def wrap(handler: Handler) -> Handler:
        def rendered(call: Call) -> Awaitable[Reply]:
            choice = call.parsed.scene
            if choice is not None:
                _apply(scenes.choose(choice), choice, call)
            return handler(call)

        return rendered

    return wrap


def _apply(version: Version, choice: SceneChoice, call: Call) -> None:
    if version.unbuilt is not None:
        raise NotBuilt(f"Scenes with `{version.unbuilt}` are not implemented yet.", param=PROMPT_ID)
    request = call.request
    changes: dict[str, Any] = {"messages": [*version.messages(choice.variables), *request.messages]}
    if version.model is not None:
        changes["model"] = version.model
    changes |= {name: value for name, value in version.parameters if not _is_set(request, name)}
    call.request = replace(request, **changes)
    call.scene = SceneChoice(choice.id, version.number, choice.label, choice.variables)


def _is_set(request: ChatRequest, name: str) -> bool:
    if name == "max_tokens" and request.max_completion_tokens is not None:
        return True
    return getattr(request, name) is not None
