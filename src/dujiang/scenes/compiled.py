"""Scenes, compiled once so that rendering a call only joins strings."""

import re
from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec import UNSET, Struct

from dujiang.core.call import SceneChoice
from dujiang.core.chat import Message, Role
from dujiang.core.errors import InvalidRequest, NotFound, Unprocessable
from dujiang.core.problem import shortened
from dujiang.scenes.settings import SceneSettings, VariableSettings, VersionSettings
from dujiang.scenes.template import Template, compile_template, fill
from dujiang.scenes.variables import as_text, refusal

PROMPT_ID = "parameters.prompt_id"
DEFAULT_LABEL = "production"

_NAME = re.compile(r"\w[\w.-]{0,63}")


class Turn(Struct, frozen=True):
    """A message of a scene whose text may have places."""

    role: Role
    text: Template


class Version(Struct, frozen=True):
    """One compiled version.

    `variables` declares every place of its turns; `defaults` has the text of those that may be left out. `opening` is
    what the turns are when the caller gives no variables, or None where a variable is required. `model` is locked;
    `parameters` are set where the caller set nothing. `unbuilt` names what it declares and this release cannot do.
    """

    number: int
    turns: tuple[Turn, ...]
    variables: dict[str, VariableSettings]
    defaults: dict[str, str]
    opening: tuple[Message, ...] | None
    model: str | None
    parameters: tuple[tuple[str, Any], ...]
    unbuilt: str | None = None

    def messages(self, given: Mapping[str, Any]) -> tuple[Message, ...]:
        """The turns with their places filled. Raises `Unprocessable` for a bad, missing or unknown variable."""
        if not given and self.opening is not None:
            return self.opening
        return _messages(self.turns, self._values(given))

    def _values(self, given: Mapping[str, Any]) -> dict[str, str]:
        values = dict(self.defaults)
        for name, value in given.items():
            declared = self.variables.get(name)
            if declared is None:
                raise _unprocessable(name, f"The scene has no variable `{shortened(name)}`")
            reason = refusal(declared, value)
            if reason is not None:
                raise _unprocessable(name, f"The scene's variable `{name}` must be {reason}")
            values[name] = as_text(value)
        missing = next((name for name in self.variables if name not in values), None)
        if missing is not None:
            raise _unprocessable(missing, f"The scene's variable `{missing}` is required")
        return values


class Scene(Struct, frozen=True):
    """The versions of a scene by number and by label, and the one that serves who asks for neither."""

    versions: dict[int, Version]
    labels: dict[str, Version]
    default: Version


class Scenes(Struct, frozen=True):
    """Every scene of a snapshot, and the settings that they were made of."""

    by_id: dict[str, Scene]
    made_of: Mapping[str, SceneSettings]

    def choose(self, choice: SceneChoice) -> Version:
        """The version that a call asked for.

        Raises `NotFound` for what does not exist and `InvalidRequest` for an id that none can have.
        """
        scene = self.by_id.get(choice.id)
        if scene is None:
            raise _not_found("scene", choice.id, f"There is no scene `{shortened(choice.id)}`")
        if choice.version is not None:
            if choice.version not in scene.versions:
                raise _not_found("scene_version", choice.id, f"`{choice.id}` has no version {choice.version}")
            return scene.versions[choice.version]
        if choice.label is not None:
            if choice.label not in scene.labels:
                raise _not_found("scene_label", choice.label, f"`{choice.id}` has no label `{shortened(choice.label)}`")
            return scene.labels[choice.label]
        return scene.default


def compile_scenes(scenes: Mapping[str, SceneSettings], before: Scenes | None = None) -> Scenes:
    """Scenes whose settings are those of `before` are taken over."""
    known: Mapping[str, SceneSettings] = before.made_of if before is not None else {}
    kept = before.by_id if before is not None else {}
    made = {id: kept[id] if known.get(id) is scene else _compile_scene(scene) for id, scene in scenes.items()}
    return Scenes(made, scenes)


def _compile_scene(scene: SceneSettings) -> Scene:
    versions = {each.version: _compile_version(each) for each in scene.versions}
    labels = {label: versions[number] for label, number in scene.labels.items()}
    return Scene(versions=versions, labels=labels, default=labels.get(DEFAULT_LABEL) or versions[max(versions)])


def _compile_version(settings: VersionSettings) -> Version:
    turns = tuple(Turn(message.role, compile_template(message.content)) for message in settings.messages)
    if settings.system:
        turns = (Turn("system", compile_template(settings.system)), *turns)
    undeclared = {name: VariableSettings() for turn in turns for name in turn.text.names}
    variables = undeclared | settings.variables
    defaults = {name: as_text(each.default) for name, each in variables.items() if each.default is not UNSET}
    is_complete = len(defaults) == len(variables)
    return Version(
        number=settings.version,
        turns=turns,
        variables=variables,
        defaults=defaults,
        opening=_messages(turns, defaults) if is_complete else None,
        model=settings.model,
        parameters=tuple(msgspec.to_builtins(settings.parameters).items()),
        unbuilt="output_schema" if settings.output_schema is not None else None,
    )


def _messages(turns: tuple[Turn, ...], values: Mapping[str, str]) -> tuple[Message, ...]:
    texts = fill((turn.text for turn in turns), values)
    return tuple(Message(turn.role, text) for turn, text in zip(turns, texts, strict=True))


def _not_found(noun: str, name: str, sentence: str) -> InvalidRequest | NotFound:
    """What to raise for a name that leads nowhere: it may be one that nothing can have."""
    if _NAME.fullmatch(name):
        return NotFound(f"{sentence}.", reason=f"unknown_{noun}", param=PROMPT_ID)
    return InvalidRequest(
        "A prompt_id is a scene's id, with @VERSION or @LABEL if wanted, like `scene_1@3`.",
        reason="malformed_prompt_id",
        param=PROMPT_ID,
    )


def _unprocessable(name: str, sentence: str) -> Unprocessable:
    return Unprocessable(f"{sentence}.", reason="bad_variable", param=f"parameters.variables.{shortened(name)}")
