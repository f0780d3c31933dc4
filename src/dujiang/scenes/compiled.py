"""Scenes, compiled once so that rendering a call only joins strings."""

import re
from collections.abc import Mapping
from typing import Any

from msgspec import UNSET, Struct

from dujiang.core.call import Call, SceneChoice
from dujiang.core.chat import Message, Role
from dujiang.core.errors import InvalidRequest, NotFound, Unprocessable
from dujiang.core.problem import shortened
from dujiang.scenes.access import PROMPT_ID, Access, check_rights, compile_access
from dujiang.scenes.locks import Lock, Parameters, compile_locks, compile_parameters
from dujiang.scenes.output import OutputSchema
from dujiang.scenes.rollout import Rollout, compile_rollout
from dujiang.scenes.settings import SceneSettings, VariableSettings, VersionSettings
from dujiang.scenes.template import Template, compile_template, fill
from dujiang.scenes.variables import as_text, refusal

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
    `parameters` are set where the caller set nothing; the caller may set nothing else for `locks`. `output` is what an
    answer must be.
    """

    number: int
    turns: tuple[Turn, ...]
    variables: dict[str, VariableSettings]
    defaults: dict[str, str]
    opening: tuple[Message, ...] | None
    model: str | None
    parameters: Parameters
    locks: tuple[Lock, ...]
    output: OutputSchema | None

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
        if len(values) < len(self.variables):
            missing = next(name for name in self.variables if name not in values)
            raise _unprocessable(missing, f"The scene's variable `{missing}` is required")
        return values


Label = Version | Rollout[Version]


class Scene(Struct, frozen=True):
    """The versions of a scene by number and by label, what serves those who ask for neither, and whom it is for."""

    versions: dict[int, Version]
    labels: dict[str, Label]
    default: Label | None
    access: Access | None

    def chosen(self, choice: SceneChoice) -> Label:
        """What is asked for. Raises `NotFound` and `InvalidRequest`."""
        if choice.version is not None:
            if choice.version not in self.versions:
                raise _not_found("scene_version", choice.id, f"`{choice.id}` has no version {choice.version}")
            return self.versions[choice.version]
        if choice.label is not None:
            if choice.label not in self.labels:
                raise _not_found("scene_label", choice.label, f"`{choice.id}` has no label `{shortened(choice.label)}`")
            return self.labels[choice.label]
        if self.default is None:
            raise _not_found("scene_version", choice.id, f"`{choice.id}` has no version yet")
        return self.default


class Scenes(Struct, frozen=True):
    """Every scene of a snapshot, and the settings that they were made of."""

    by_id: dict[str, Scene]
    made_of: Mapping[str, SceneSettings]

    def choose(self, choice: SceneChoice, call: Call) -> Version:
        """The version for a call. Who may not use a scene learns no more of it than that.

        Raises `NotFound` for what does not exist, `InvalidRequest` for an id that none can have, and `Forbidden`.
        """
        scene = self.by_id.get(choice.id)
        if scene is None:
            raise _not_found("scene", choice.id, f"There is no scene `{shortened(choice.id)}`")
        if scene.access is not None or call.rights.scenes:
            check_rights(choice.id, scene.access, call)
        chosen = scene.chosen(choice)
        return chosen if isinstance(chosen, Version) else chosen.version_for(user_of(call))

    @property
    def output_schemas(self) -> dict[str, dict[int, OutputSchema]]:
        """The schemas of those scenes that have any, by the version's number."""
        found = {
            id: {number: version.output for number, version in scene.versions.items() if version.output is not None}
            for id, scene in self.by_id.items()
        }
        return {id: schemas for id, schemas in found.items() if schemas}


def user_of(call: Call) -> str:
    """Whose calls get the same version of a rollout: the user's, else the conversation's, else only this one."""
    user = call.parsed.user
    return user.user_id or user.conversation_id or call.request_id


def compile_scenes(scenes: Mapping[str, SceneSettings], before: Scenes | None = None) -> Scenes:
    """Scenes whose settings are those of `before` are taken over."""
    known: Mapping[str, SceneSettings] = before.made_of if before is not None else {}
    kept = before.by_id if before is not None else {}
    made = {id: kept[id] if known.get(id) is scene else compile_scene(id, scene) for id, scene in scenes.items()}
    return Scenes(made, scenes)


def compile_scene(id: str, scene: SceneSettings) -> Scene:
    versions = {each.version: compile_version(each) for each in scene.versions}
    labels: dict[str, Label] = {}
    for label, target in scene.labels.items():
        if isinstance(target, int):
            labels[label] = versions[target]
        else:
            weights = {int(number): weight for number, weight in target.items()}
            labels[label] = compile_rollout(id, label, weights, versions)
    default = labels.get(DEFAULT_LABEL) or (versions[max(versions)] if versions else None)
    return Scene(versions, labels, default, compile_access(scene))


def compile_version(settings: VersionSettings) -> Version:
    turns = tuple(Turn(message.role, compile_template(message.content)) for message in settings.messages)
    if settings.system:
        turns = (Turn("system", compile_template(settings.system)), *turns)
    undeclared = {name: VariableSettings() for turn in turns for name in turn.text.names}
    variables = undeclared | settings.variables
    defaults = {name: as_text(each.default) for name, each in variables.items() if each.default is not UNSET}
    parameters = compile_parameters(settings)
    output = OutputSchema(settings.output_schema) if settings.output_schema is not None else None
    form = (Lock("response_format", output.response_format),) if output is not None else ()
    is_complete = len(defaults) == len(variables)
    return Version(
        number=settings.version,
        turns=turns,
        variables=variables,
        defaults=defaults,
        opening=_messages(turns, defaults) if is_complete else None,
        model=settings.model,
        parameters=parameters,
        locks=compile_locks(parameters, settings.locks) + form,
        output=output,
    )


def _messages(turns: tuple[Turn, ...], values: Mapping[str, str]) -> tuple[Message, ...]:
    texts = fill([turn.text for turn in turns], values)
    return tuple([Message(turn.role, text) for turn, text in zip(turns, texts, strict=True)])


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
