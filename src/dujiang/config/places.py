"""Where in a document a value is, kept as a chain that becomes a path only when there is something to say of it."""

from typing import TypeAlias

from dujiang.core.problem import at

Place: TypeAlias = "tuple[Place, str | int] | None"
"""The place that holds it, and its key or index there; None is the root."""


def path_of(place: Place) -> str:
    """The path to a place, like `providers.openai.credentials[0].secret`."""
    keys: list[str | int] = []
    while place is not None:
        place, key = place
        keys.append(key)
    path = ""
    for key in reversed(keys):
        path = at(path, key)
    return path
