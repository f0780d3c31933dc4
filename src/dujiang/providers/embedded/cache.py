"""Where model files lie on this machine. A file counts only beside its stamp, written once its hash was checked."""

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path

from dujiang.providers.embedded.registry import Model, UnknownModel, find_model


def cache_dir(environ: Mapping[str, str]) -> Path:
    """`DUJIANG_CACHE_DIR`, else `dujiang/models` in the user's cache folder (XDG base directory specification)."""
    if chosen := environ.get("DUJIANG_CACHE_DIR"):
        return Path(chosen).expanduser()
    if xdg := environ.get("XDG_CACHE_HOME"):
        return Path(xdg) / "dujiang" / "models"
    return Path("~/.cache/dujiang/models").expanduser()


def locate(name_or_path: str, directory: Path) -> Path | None:
    """The file of a model on this machine, or None. Never downloads, never hashes.

    A path (with a separator, or ending in `.gguf`) is any model file of the operator's; anything else is a name or an
    alias of the registry.
    """
    if is_path(name_or_path):
        path = Path(name_or_path).expanduser()
        return path if path.is_file() else None
    try:
        model = find_model(name_or_path)
    except UnknownModel:
        return None
    return placed(model, directory)


def explain_missing(name_or_path: str) -> str:
    """What an operator does when `locate` found nothing: one sentence."""
    if is_path(name_or_path):
        return f"The model file {name_or_path} does not exist: put it there, or name a model of `dujiang models list`."
    try:
        model = find_model(name_or_path)
    except UnknownModel as unknown:
        return str(unknown)
    return f"The embedded model {model.name} is not on this machine: run `dujiang models pull {model.name}`."


def is_path(name_or_path: str) -> bool:
    """Whether a `model_file` setting is a path and not a name of the registry."""
    return os.sep in name_or_path or name_or_path.endswith(".gguf")


def placed(model: Model, directory: Path) -> Path | None:
    """The model's file, where it has the official size and a stamp that says its hash was the official one."""
    path = directory / model.file
    try:
        is_whole = path.stat().st_size == model.bytes
        stamp = stamp_of(path).read_text("utf-8")
    except OSError:
        return None
    return path if is_whole and stamp == _stamp_text(model) else None


def stamp_of(path: Path) -> Path:
    """The stamp beside a model file: one line in the form of `sha256sum`, so that `sha256sum -c` takes it."""
    return path.with_name(path.name + ".sha256")


def write_stamp(model: Model, directory: Path) -> None:
    """Say that the placed file has the official hash. The caller has just checked it."""
    stamp = stamp_of(directory / model.file)
    fresh = stamp.with_name(stamp.name + ".new")
    fresh.write_text(_stamp_text(model), "utf-8")
    fresh.replace(stamp)


def hash_file(path: Path) -> str:
    """The SHA-256 of a file, in hex. About one second for 0.5 GB."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _stamp_text(model: Model) -> str:
    return f"{model.sha256}  {model.file}\n"
