"""What a scene's settings say that cannot be meant, beyond the type of each value."""

from collections import defaultdict
from collections.abc import Container, Iterator

from msgspec import UNSET

from dujiang.core.problem import Problem, at
from dujiang.scenes.output_rules import schema_problems
from dujiang.scenes.settings import SceneSettings, Shares, VariableSettings, VersionSettings
from dujiang.scenes.template import MAX_BYTES, compile_template
from dujiang.scenes.variables import as_text, refusal

MAX_SHARES = 16
"""The most versions that can share a label: each is drawn for at every call."""


def contradictions(scene: SceneSettings) -> Iterator[Problem]:
    """Labels without their version, versions that share a number, variables that refuse their own default, schemas that
    no answer can be held against.
    """
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
        yield from _of_output(version, path)
    for label, target in scene.labels.items():
        yield from _of_label(label, target, seen)


def _of_output(version: VersionSettings, path: str) -> Iterator[Problem]:
    if version.output_schema is None:
        return
    yield from (problem.under(f"{path}.output_schema") for problem in schema_problems(version.output_schema))
    if version.parameters.response_format is not None:
        yield Problem(f"{path}.parameters.response_format", "cannot stand beside `output_schema`, which sets it")


def _of_label(label: str, target: int | Shares, versions: Container[int]) -> Iterator[Problem]:
    path = at("labels", label)
    if label[0].isdigit():
        yield Problem(path, "must not start with a digit: it would be taken for a version")
    if isinstance(target, int):
        if target not in versions:
            yield Problem(path, f"there is no version {target}")
        return
    if not 0 < len(target) <= MAX_SHARES:
        yield Problem(path, f"must have 1 to {MAX_SHARES} versions")
    for number in target:
        if int(number) not in versions:
            yield Problem(at(path, number), f"there is no version {number}")


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
