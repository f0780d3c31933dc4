"""A revision in memory, a proposal of the next one, and how two differ."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Generic, TypeVar

from msgspec import Struct

from dujiang.config.checked import Checked
from dujiang.config.entries import Key, Tree, entry_of, split
from dujiang.config.history import Change
from dujiang.config.merge import unshared
from dujiang.config.problems import InvalidDocument
from dujiang.config.settings import AlertSettings, Sections
from dujiang.core.problem import Problem, at

S = TypeVar("S")
"""What a document is compiled into."""

MAX_ENTRIES = 100_000
MAX_ENTRY_BYTES = 1024 * 1024
"""Changes one by one must not build what no single document may be."""


class State(Struct, frozen=True):
    """A revision in memory. `digests` has the entries that it consists of."""

    revision: int
    checked: Checked
    digests: dict[Key, bytes]


class Live(State, Generic[S], frozen=True):
    """A revision at work."""

    snapshot: S


class Vetted(Struct, frozen=True):
    """A tree that another process has found sound in the same environment, with the secrets of a revision put back."""

    tree: Tree
    revision: int


Given = Tree | Vetted


class Proposal(Struct, frozen=True):
    """A document that may become the revision after `parent`, and what it would change.

    Once it is applied, `revision` is the one that it became: `parent` itself where it changed nothing.
    """

    parent: int
    checked: Checked
    digests: dict[Key, bytes]
    changes: tuple[Change, ...]
    warnings: tuple[Problem, ...]
    revision: int


def changes_from(state: State, checked: Checked) -> tuple[dict[Key, bytes], tuple[Change, ...]]:
    """The entries of a document by digest, and how they differ from a state's.

    Raises `InvalidDocument` for more or larger ones than are kept.
    """
    now, before = checked.tree, state.checked.tree
    made = {key: entry_of(part) for key, part in split(unshared(now, before))}
    gone = [key for key, _ in split(unshared(before, now)) if key not in made]
    digests = state.digests | {key: entry.digest for key, entry in made.items()}
    for key in gone:
        del digests[key]
    put = [Change(key, entry) for key, entry in made.items() if state.digests.get(key) != entry.digest]
    if excess := tuple(_excess(digests, put)):
        raise InvalidDocument(excess)
    return digests, (*put, *(Change(key, None) for key in gone))


def changed_upstreams(before: Sections, after: Sections) -> Sections:
    """The providers and alerts that are not as they were."""
    known = before.providers
    changed = {name: provider for name, provider in after.providers.items() if known.get(name) is not provider}
    return Sections(providers=changed, alerts=after.alerts if after.alerts is not before.alerts else AlertSettings())


def with_its_like(section: str, full: Tree) -> Tree:
    """What a document has to hold beside a section, so that the default document does not stand in for it: models and
    providers come together.
    """
    pair = ("providers", "models")
    return {name: full[name] for name in pair if name in full} if section in pair else {}


def _excess(digests: Mapping[Key, bytes], put: Sequence[Change]) -> Iterator[Problem]:
    if len(digests) > MAX_ENTRIES:
        yield Problem("", f"has more than {MAX_ENTRIES} names")
    for change in put:
        if change.entry is not None and len(change.entry.text) > MAX_ENTRY_BYTES:
            section, name = change.key
            yield Problem(at(section, name) if name else section, f"is larger than {MAX_ENTRY_BYTES} bytes")
