"""What a scene's settings say that cannot be meant, beyond the type of each value."""

from collections import defaultdict
from collections.abc import Iterator

from msgspec import UNSET

from dujiang.core.problem import Problem, at
from dujiang.scenes.settings import SceneSettings, VariableSettings, VersionSettings
from dujiang.scenes.template import MAX_BYTES, compile_template
from dujiang.scenes.variables import as_text, refusal


def contradictions(scene: SceneSettings) -> Iterator[Problem]:
    """Labels without their version, versions that share a number, variables that refuse their own default."""
    seen: set[int] = set()
    for n, version in enumerate(scene.versions):
        path = at("versions", n)
        if version.version in seen:
            yield Problem(f"{path}.version", f"version {version.version} is declared twice")
        seen.add(version.version)
        if _smallest_size(version) > MAX_BYTES:
            yield Problem(path, f"the texts grow beyond {MAX_BYTES} bytes")
        for name, variable in version.variables.items():
            yield from _of_variable(variable, at(f"{path}.variables", name))
    for label, number in scene.labels.items():
        if number not in seen:
            yield Problem(at("labels", label), f"there is no version {number}")
        if label[0].isdigit():
            yield Problem(at("labels", label), "must not start with a digit: it would be taken for a version")


def _smallest_size(version: VersionSettings) -> int:
    """The bytes of a version's texts with its defaults, and nothing where the caller must give a value."""
    defaults = {name: as_text(each.default) for name, each in version.variables.items() if each.default is not UNSET}
    texts = (version.system, *(message.content for message in version.messages))
    return sum(compile_template(text).size(defaultdict(str, defaults)) for text in texts)


def _of_variable(variable: VariableSettings, path: str) -> Iterator[Problem]:
    is_number = variable.type in {"integer", "number"}
    for key in ("minimum", "maximum"):
        if getattr(variable, key) is not None and not is_number:
            yield Problem(f"{path}.{key}", f"means nothing for type `{variable.type}`")
    if variable.max_length is not None and variable.type != "string":
        yield Problem(f"{path}.max_length", f"means nothing for type `{variable.type}`")
    if variable.minimum is not None and variable.maximum is not None and variable.minimum > variable.maximum:
        yield Problem(f"{path}.minimum", "must not be more than `maximum`")
    for n, value in enumerate(variable.enum or ()):
        if reason := refusal(variable, value):
            yield Problem(at(f"{path}.enum", n), f"must be {reason}")
    if variable.default is not UNSET and (reason := refusal(variable, variable.default)):
        yield Problem(f"{path}.default", f"must be {reason}")
