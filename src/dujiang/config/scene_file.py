"""One scene as a file: a document that holds it and nothing else, so that either can be pasted into the other."""

from typing import Any, Literal

import msgspec

from dujiang.config.problems import Problems
from dujiang.config.shape import sound_part
from dujiang.config.tree import Format, read_tree
from dujiang.config.writing import write_tree
from dujiang.core.problem import at
from dujiang.core.settings import Name, Settings
from dujiang.scenes.contradictions import contradictions
from dujiang.scenes.settings import SceneSettings


class SceneFile(Settings):
    """The document of one scene."""

    scenes: dict[Name, SceneSettings]


def write_scene(id: str, scene: dict[str, Any], format: Literal["yaml", "json"]) -> str:
    """The file of a scene, whose tree is as it stands in the document."""
    return write_tree({"scenes": {id: scene}}, format)


def read_scene(text: bytes, format: Format = "auto") -> tuple[str, dict[str, Any]]:
    """The id and the tree of the scene in a file.

    What it names elsewhere (models, roles) is for the document to check that takes it in. Raises `InvalidDocument` with
    all that is wrong with the scene itself.
    """
    tree = read_tree(text, format)
    problems = Problems()
    sound = sound_part(tree, SceneFile, problems)
    problems.refuse_if_any()
    file = msgspec.convert(sound, SceneFile)
    if len(file.scenes) != 1:
        problems.add("scenes", f"must hold one scene, and holds {len(file.scenes)}")
    for id, scene in file.scenes.items():
        problems.extend(problem.under(at("scenes", id)) for problem in contradictions(scene))
    problems.refuse_if_any()
    (id,) = file.scenes
    return id, tree["scenes"][id]
