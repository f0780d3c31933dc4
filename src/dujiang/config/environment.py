"""`${NAME}` and `${NAME:-default}`: the only way in which a document reads the environment."""

import os
import re
from collections.abc import Iterator, Mapping

from dujiang.config.settings import Sections
from dujiang.core.errors import Misconfigured
from dujiang.core.problem import Problem, at
from dujiang.core.secret import MASK, SEALED, Secret, stored_name

RESERVED = "DUJIANG_"
"""Dujiang's own variables hold its keys: no document may read them."""

_REFERENCE = re.compile(r"\$\{(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?P<fallback>:-(?P<default>[^{}]*))?\}")


class UnresolvedReference(ValueError):
    """A variable that is not set and has no default, or that a document must not read."""


def expand(text: str, environ: Mapping[str, str]) -> str:
    """`text` with its references replaced, once. As in a shell, `:-` also covers a variable that is empty.

    Raises `UnresolvedReference`, which names the variable and never a value.
    """

    def value(match: re.Match[str]) -> str:
        name, default = match["name"], match["default"]
        if name.startswith(RESERVED):
            raise UnresolvedReference(f"`{name}` is Dujiang's own: a document cannot read `{RESERVED}` variables")
        found = environ.get(name)
        if match["fallback"]:
            return found or default
        if found is None:
            raise UnresolvedReference(f"the environment has no variable `{name}`; `${{{name}:-}}` would allow that")
        return found

    return _REFERENCE.sub(value, text)


def expand_here(text: str) -> str:
    """`expand` in this process's environment. Raises `Misconfigured`."""
    try:
        return expand(text, os.environ)
    except UnresolvedReference as error:
        raise Misconfigured(f"The configuration cannot be used here: {error}.", reason="environment") from None


def has_reference(text: str) -> bool:
    return _REFERENCE.search(text) is not None


def names_in(text: str) -> list[str]:
    """The variables that a text refers to."""
    return [match["name"] for match in _REFERENCE.finditer(text)]


def is_malformed(text: str) -> bool:
    """Whether something in `text` looks like a reference and is none."""
    return "${" in _REFERENCE.sub("", text)


def expandable(sections: Sections) -> Iterator[tuple[str, str]]:
    """Every text of a document in which references count, with its path: `base_url`, `url` and `secret`."""
    for name, provider in sections.providers.items():
        path = at("providers", name)
        yield f"{path}.base_url", provider.base_url
        for n, credential in enumerate(provider.credentials):
            yield f"{at(f'{path}.credentials', n)}.secret", credential.secret.reveal()
    yield "alerts.url", sections.alerts.url
    yield "alerts.secret", sections.alerts.secret.reveal()


def reference_problems(sections: Sections, environ: Mapping[str, str] | None) -> Iterator[Problem]:
    """References that are malformed, forbidden or, where the environment is known, not to be resolved."""
    for path, text in expandable(sections):
        if is_malformed(text):
            yield Problem(path, "a reference has the form `${NAME}` or `${NAME:-default}`")
            continue
        for match in _REFERENCE.finditer(text):
            try:
                expand(match[0], environ if environ is not None else {match["name"]: ""})
            except UnresolvedReference as error:
                yield Problem(path, str(error))


def shown(secret: Secret) -> str:
    """How a secret is printed: references as they were written, without their default, and `***` for all else.

    One to a sealed secret stands for a literal, and is printed like one.
    """
    text = secret.reveal()
    stored = stored_name(text)
    if stored is not None:
        return MASK if stored.startswith(SEALED) else text
    if not text:
        return text
    match = _REFERENCE.fullmatch(text)
    if match is None:
        return MASK
    return f"${{{match['name']}:-{MASK}}}" if match["default"] else text
