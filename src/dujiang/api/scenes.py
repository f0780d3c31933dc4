"""Scenes: made, worded anew in numbered versions, published under labels, tried, and carried as files.

Keys of the built-in app see and write every scene. Other keys see those that are for their app, and write those that
are for their app alone.
"""

from typing import Annotated, Any, Literal

import msgspec
from fastapi import APIRouter, Depends, Request, Response
from pydantic import BaseModel, ConfigDict

from dujiang.api import entries
from dujiang.api.config import author_of
from dujiang.api.deps import PLATFORM_APP, Serving, holding, writing
from dujiang.config.scene_file import read_scene, write_scene
from dujiang.core.call import Caller
from dujiang.core.errors import Conflict, Forbidden, NotFound, Unprocessable
from dujiang.core.names import compile_names
from dujiang.runtime import Runtime
from dujiang.scenes.compiled import Version
from dujiang.scenes.preview import preview
from dujiang.scenes.publishing import percent_of, published, uses
from dujiang.scenes.rollout import Rollout

router = APIRouter(prefix="/api/v1/scenes", tags=["scenes"])

Reading = Annotated[Caller, Depends(holding("scenes:read"))]
Writing = Annotated[Caller, Depends(writing("scenes:write", holding("scenes:write")))]
Item = dict[str, Any]

_SCENES = "scenes"
_HISTORY_LIMIT = 200
_OWN = frozenset({"description", "apps", "roles"})
"""What a scene has beside its versions and labels, which have addresses of their own."""


class Publication(BaseModel):
    """`weight` is the version's share of the label's calls: 1 to 100 percent, or a fraction below 1."""

    model_config = ConfigDict(extra="forbid")

    label: str
    version: int
    weight: float = 100


class Trial(BaseModel):
    """Without `version` and `label`, what callers get who ask for neither."""

    model_config = ConfigDict(extra="forbid")

    version: int | None = None
    label: str | None = None
    variables: dict[str, Any] = {}
    prompt: str = ""


class Restoration(BaseModel):
    model_config = ConfigDict(extra="forbid")

    revision: int


@router.get("")
async def list_scenes(runtime: Serving, caller: Reading) -> Item:
    """The scenes that the key may see, without the text of their versions."""
    found = await entries.parts(runtime, _SCENES)
    seen = [_summary(id, scene) for id, scene in found.items() if _may_see(runtime, caller, id, scene)]
    return {"items": seen, "next_cursor": None}


@router.post("", status_code=201)
async def create_scene(request: Request, response: Response, runtime: Serving, caller: Writing) -> Item:
    """`{id, description?, apps?, roles?}`. A key of an app makes scenes for that app."""
    id, scene = entries.named(await entries.body_of(request))
    _refuse_others(scene, _OWN)
    if caller.app != PLATFORM_APP:
        scene = {**scene, "apps": scene.get("apps", [caller.app])}
        _require_own(caller, id, scene)
    return _summary_of(await entries.create(runtime, caller, _SCENES, id, scene, response))


@router.post("/import", status_code=201)
async def import_scene(request: Request, response: Response, runtime: Serving, caller: Writing) -> Item:
    """A file that an export wrote, YAML or JSON: a new scene, or all of one that is there."""
    id, scene = read_scene(await request.body())

    def make(known: Item | None) -> Item:
        for each in (known, scene):
            if each is not None:
                _require_own(caller, id, each)
        return scene

    return _summary_of(await entries.edit(runtime, caller, _SCENES, id, make, response))


@router.get("/{id}")
async def get_scene(id: str, runtime: Serving, caller: Reading) -> Item:
    """A scene with all its versions."""
    return entries.item(id, await _seen(runtime, caller, id))


@router.patch("/{id}")
async def change_scene(id: str, request: Request, response: Response, runtime: Serving, caller: Writing) -> Item:
    """A JSON merge patch of its description, apps and roles."""
    patch = await entries.body_of(request)
    _refuse_others(patch, _OWN)

    def make(known: Item | None) -> Item:
        changed = {key: value for key, value in {**_own(caller, id, known), **patch}.items() if value is not None}
        _require_own(caller, id, changed)
        return changed

    return _summary_of(await entries.edit(runtime, caller, _SCENES, id, make, response))


@router.delete("/{id}", status_code=204)
async def delete_scene(id: str, runtime: Serving, caller: Writing) -> None:
    """Calls that name it answer 404 from then on; earlier revisions still have it."""
    author = author_of(runtime, caller)
    await runtime.configure(lambda config: config.edit(_SCENES, id, lambda known: _gone(caller, id, known), author))


@router.get("/{id}/versions")
async def list_versions(id: str, runtime: Serving, caller: Reading) -> Item:
    scene = await _seen(runtime, caller, id)
    return {"items": scene.get("versions", []), "next_cursor": None}


@router.post("/{id}/versions", status_code=201)
async def create_version(id: str, request: Request, response: Response, runtime: Serving, caller: Writing) -> Item:
    """`{system?, messages?, variables?, model?, parameters?, locks?, output_schema?}`. It gets the next number, is
    never changed, and is called by nobody who does not ask for it until it is published; but the first version of a
    scene without labels serves at once.
    """
    version = await entries.body_of(request)
    if "version" in version:
        raise Unprocessable("A version gets its number here.", param="version")

    names = await runtime.configure(lambda config: config.history.names_ever(_SCENES, f"{id}@"))
    last = max((int(name.rpartition("@")[2]) for name in names), default=0)

    def make(known: Item | None) -> Item:
        scene = _own(caller, id, known)
        versions = scene.get("versions", [])
        labels = scene.get("labels", {}) or _held(versions)
        number = max([last, *(each["version"] for each in versions)]) + 1
        return {**scene, "labels": labels, "versions": [*versions, {"version": number, **version}]}

    made = await entries.edit(runtime, caller, _SCENES, id, make, response)
    return made["versions"][-1]


@router.get("/{id}/versions/{version}")
async def get_version(id: str, version: int, runtime: Serving, caller: Reading) -> Item:
    return _version_of(id, await _seen(runtime, caller, id), version)


@router.delete("/{id}/versions/{version}", status_code=204)
async def delete_version(id: str, version: int, runtime: Serving, caller: Writing) -> None:
    """A version that callers get by a label, or by naming none, stays. Its number is not given again."""
    author = author_of(runtime, caller)

    def make(known: Item | None) -> Item:
        scene = _own(caller, id, known)
        _version_of(id, scene, version)
        _refuse_used(scene, version)
        return {**scene, "versions": [each for each in scene["versions"] if each["version"] != version]}

    await runtime.configure(lambda config: config.edit(_SCENES, id, make, author))


@router.post("/{id}/publish", openapi_extra=entries.described(Publication))
async def publish(id: str, request: Request, response: Response, runtime: Serving, caller: Writing) -> Item:
    """Move a label to a version, or give the version a share of the label's calls."""
    body = await entries.read_body(request, Publication)
    percent = percent_of(body.weight)

    def make(known: Item | None) -> Item:
        scene = _own(caller, id, known)
        _version_of(id, scene, body.version)
        return {**scene, "labels": published(scene.get("labels", {}), body.label, body.version, percent)}

    return _summary_of(await entries.edit(runtime, caller, _SCENES, id, make, response))


@router.get("/{id}/history")
async def history(id: str, runtime: Serving, caller: Reading) -> Item:
    """The labels as they were moved, the newest first, each with its revision."""
    await _seen(runtime, caller, id)
    found = await runtime.configure(lambda config: config.history.held_by((_SCENES, id), _HISTORY_LIMIT))
    items = [
        {**msgspec.to_builtins(revision), "labels": scene.get("labels", {}) if scene is not None else None}
        for revision, scene in found
    ]
    return {"items": items, "next_cursor": None}


@router.post("/{id}/restore", openapi_extra=entries.described(Restoration))
async def restore(id: str, request: Request, response: Response, runtime: Serving, caller: Writing) -> Item:
    """Put the labels back to where they were in an earlier revision."""
    body = await entries.read_body(request, Restoration)
    await _seen(runtime, caller, id)
    past = (await runtime.configure(lambda config: config.tree(body.revision))).get(_SCENES, {}).get(id)
    if past is None:
        raise NotFound(
            f"Revision {body.revision} has no scene `{id[:64]}`.", reason="scene_not_found", param="revision"
        )

    def make(known: Item | None) -> Item:
        return {**_own(caller, id, known), "labels": past.get("labels", {})}

    return _summary_of(await entries.edit(runtime, caller, _SCENES, id, make, response))


@router.post("/{id}/render", openapi_extra=entries.described(Trial))
async def render(id: str, request: Request, runtime: Serving, caller: Reading) -> Item:
    """The messages that a model would get. Executes nothing."""
    body = await entries.read_body(request, Trial)
    await _seen(runtime, caller, id)
    messages = preview(_tried(runtime, id, body), body.variables, body.prompt)
    return {"messages": msgspec.to_builtins(messages)}


@router.get("/{id}/export", response_class=Response, responses={200: {"content": {"application/yaml": {}}}})
async def export_scene(
    id: str, runtime: Serving, caller: Reading, format: Literal["yaml", "json"] = "yaml"
) -> Response:
    """The scene as a file."""
    text = write_scene(id, await _seen(runtime, caller, id), format)
    return Response(text, media_type=f"application/{format}")


async def _seen(runtime: Runtime, caller: Caller, id: str) -> Item:
    """A scene that the caller may see. Another one is not found, like one that there is not."""
    scene = (await entries.parts(runtime, _SCENES)).get(id)
    if scene is None or not _may_see(runtime, caller, id, scene):
        raise _no_scene(id)
    return scene


def _may_see(runtime: Runtime, caller: Caller, id: str, scene: Item) -> bool:
    if caller.app == PLATFORM_APP:
        return True
    return caller.app in compile_names(scene.get("apps", ["*"])) and runtime.rights(caller).allows_scene(id)


def _own(caller: Caller, id: str, scene: Item | None) -> Item:
    """A scene that the caller may write. Raises `NotFound`, `Forbidden`."""
    if scene is None:
        raise _no_scene(id)
    _require_own(caller, id, scene)
    return scene


def _require_own(caller: Caller, id: str, scene: Item) -> None:
    if caller.app == PLATFORM_APP or scene.get("apps", ["*"]) == [caller.app]:
        return
    if caller.app not in compile_names(scene.get("apps", ["*"])):
        raise _no_scene(id)
    raise Forbidden(
        "This scene is for other apps too: only keys of the app `admin` write it.", reason="not_own_scene", param="apps"
    )


def _gone(caller: Caller, id: str, known: Item | None) -> None:
    _own(caller, id, known)


def _refuse_others(body: Item, known: frozenset[str]) -> None:
    for key in body:
        if key not in known:
            raise Unprocessable(f"A scene has no `{key[:64]}` here.", reason="unknown_field", param=key[:64])


def _refuse_used(scene: Item, version: int) -> None:
    labels = uses(scene.get("labels", {}), version)
    if labels:
        raise Conflict(f"The label `{labels[0]}` leads to version {version}: move it first.", reason="in_use")
    is_newest = version == max(each["version"] for each in scene["versions"])
    if is_newest and "production" not in scene.get("labels", {}):
        raise Conflict(
            f"Version {version} serves who names none: publish another one as `production` first.", reason="in_use"
        )


def _held(versions: list[Item]) -> Item:
    """The label that keeps callers who name none on the version that they have."""
    return {"production": max(each["version"] for each in versions)} if versions else {}


def _version_of(id: str, scene: Item, version: int) -> Item:
    for each in scene.get("versions", ()):
        if each["version"] == version:
            return each
    raise NotFound(f"`{id[:64]}` has no version {version}.", reason="unknown_scene_version", param="version")


def _tried(runtime: Runtime, id: str, trial: Trial) -> Version:
    """The compiled version that a trial means; of a rollout, the one with the largest share."""
    scene = runtime.snapshot.scenes.by_id.get(id)
    if scene is None:
        raise _no_scene(id)
    if trial.version is not None:
        found = scene.versions.get(trial.version)
    elif trial.label is not None:
        found = scene.labels.get(trial.label)
    else:
        found = scene.default
    if found is None:
        raise NotFound(f"`{id[:64]}` has no such version or label.", reason="unknown_scene_version", param="version")
    return found.version_for(id) if isinstance(found, Rollout) else found


def _summary(id: str, scene: Item) -> Item:
    numbers = [each["version"] for each in scene.get("versions", ())]
    return {**{key: value for key, value in scene.items() if key != "versions"}, "id": id, "versions": numbers}


def _summary_of(item: Item) -> Item:
    return _summary(item["id"], item)


def _no_scene(id: str) -> NotFound:
    return NotFound(f"There is no scene `{id[:64]}`.", reason="scene_not_found", param="id")
