"""The history as a machine: two processes write and follow, and every revision stays what it was when accepted."""

import copy
import shutil
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from dujiang.config.author import operator
from dujiang.config.difference import differences
from dujiang.config.entries import entry_of
from dujiang.config.history import History, StaleRevision
from dujiang.config.merge import merged
from dujiang.config.opening import open_configuration
from dujiang.config.problems import InvalidDocument
from dujiang.config.service import Configuration
from dujiang.config.settings import Document
from dujiang.core.errors import AppError, Misconfigured
from dujiang.migrations import upgrade
from dujiang.storage.database import connect, sqlite_url
from dujiang.storage.secret_key import make_key_file, open_keychain
from dujiang.storage.secrets import SecretStore

Tree = dict[str, Any]

AUTHOR = operator("test")
UNCOMPILABLE = "broken"
PROVIDER = {"kind": "openai", "base_url": "http://127.0.0.1:9/v1", "allow_private_network": True}

names = st.sampled_from(["a", "b", "c"])
models = st.fixed_dictionaries(
    {
        "targets": st.lists(st.fixed_dictionaries({"provider": names, "model": names}), min_size=1, max_size=2),
        "quality": st.sampled_from([0, 0.0, 1, 0.5]),
    }
)
version = st.fixed_dictionaries({"version": st.integers(1, 3), "system": st.sampled_from(["", "one", "two"])})
scenes = st.fixed_dictionaries(
    {"versions": st.lists(version, min_size=1, max_size=3, unique_by=lambda v: v["version"])}
)


def some(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.one_of(st.none(), inner)


patches = st.fixed_dictionaries(
    {},
    optional={
        "providers": st.dictionaries(names, st.just(PROVIDER), max_size=3),
        "models": st.dictionaries(st.one_of(names, st.just(UNCOMPILABLE)), some(models), max_size=3),
        "aliases": some(st.dictionaries(st.sampled_from(["x", "y"]), some(names), max_size=2)),
        "scenes": some(st.dictionaries(names, some(scenes), max_size=2)),
        "records": some(st.fixed_dictionaries({"retention_days": st.sampled_from([30, 90, "soon"])})),
    },
)
FIRST: Tree = {
    "providers": {
        name: {"kind": "openai", "base_url": "http://127.0.0.1:9/v1", "allow_private_network": True} for name in "abc"
    },
    "models": {"a": {"targets": [{"provider": "a", "model": "a"}]}},
}


@cache
def empty_house() -> Path:
    """A migrated database, to be copied: a migration takes longer than all the rest."""
    directory = Path(tempfile.mkdtemp(prefix="dujiang-history-"))
    make_key_file(directory, {})
    with connect(sqlite_url(directory)) as database:
        upgrade(database)
    return directory


def compile_some(document: Document, revision: int, before: int | None) -> int:
    if UNCOMPILABLE in document.models:
        raise Misconfigured("It cannot be compiled.")
    return revision


def settled(tree: Tree) -> Tree:
    """A tree with the versions of its scenes in order: that they have in a document means nothing."""
    made = copy.deepcopy(tree)
    for scene in made.get("scenes", {}).values():
        scene["versions"].sort(key=lambda each: each["version"])
    return made


class TwoProcesses(RuleBasedStateMachine):
    """Both have the same database. `accepted` is the oracle."""

    def __init__(self) -> None:
        super().__init__()
        self._directory = Path(tempfile.mkdtemp(prefix="dujiang-history-"))
        shutil.copytree(empty_house(), self._directory, dirs_exist_ok=True)
        self._databases = [connect(sqlite_url(self._directory)) for _ in range(2)]
        self.processes = [self._open(database) for database in self._databases]
        self.history = History(self._databases[0])
        self.accepted: list[Tree] = [{}]
        self.put(0, FIRST)

    def _open(self, database: Any) -> Configuration[int]:
        secrets = SecretStore(database, open_keychain(self._directory, {}))
        made: Configuration[int] = open_configuration(database, secrets, compile_some, {})
        made.load()
        return made

    def _note(self, wanted: Tree, revision: int) -> None:
        if revision == len(self.accepted):
            self.accepted.append(settled(wanted))
        assert revision == len(self.accepted) - 1
        assert entry_of(self.accepted[-1]).digest == entry_of(settled(wanted)).digest

    @rule(who=st.integers(0, 1), tree=patches)
    def put(self, who: int, tree: Tree) -> None:
        process = self.processes[who]
        wanted = {**FIRST, **{name: part for name, part in tree.items() if part is not None}}
        self._try(process, wanted, lambda: process.put(wanted, len(self.accepted) - 1, AUTHOR).revision)

    @rule(who=st.integers(0, 1), patch=patches)
    def patch(self, who: int, patch: Tree) -> None:
        process = self.processes[who]
        process.follow()
        checked = process.live.checked
        stand_ins = {name: checked.full[name] for name in patch if name in checked.full}
        wanted = merged({**stand_ins, **checked.tree}, patch)
        self._try(process, wanted, lambda: process.patch(patch, process.live.revision, AUTHOR).revision)

    @rule(who=st.integers(0, 1), name=names, made=some(models))
    def edit(self, who: int, name: str, made: Tree | None) -> None:
        process = self.processes[who]
        newest = self.accepted[-1]
        held = {key: part for key, part in newest.get("models", {}).items() if key != name}
        wanted = {**newest, "models": held if made is None else {**held, name: made}}
        self._try(process, wanted, lambda: process.edit("models", name, lambda _: made, AUTHOR).revision)

    @rule(who=st.integers(0, 1), data=st.data())
    def roll_back(self, who: int, data: st.DataObject) -> None:
        to = data.draw(st.integers(1, len(self.accepted) - 1))
        process = self.processes[who]
        self._try(process, self.accepted[to], lambda: process.roll_back(to, None, AUTHOR).revision)

    @rule(who=st.integers(0, 1), patch=patches)
    def be_late(self, who: int, patch: Tree) -> None:
        process = self.processes[who]
        for parent in (len(self.accepted) - 2, len(self.accepted)):
            try:
                process.put({**FIRST, **patch}, parent, AUTHOR)
            except StaleRevision as stale:
                assert stale.current == len(self.accepted) - 1
            else:
                raise AssertionError("a stale writer was heard")

    @rule(who=st.integers(0, 1))
    def follow(self, who: int) -> None:
        self.processes[who].follow()
        assert self.processes[who].live.revision == len(self.accepted) - 1

    @rule(data=st.data())
    def differences_compose(self, data: st.DataObject) -> None:
        a, b, c = sorted(data.draw(st.tuples(*[st.integers(0, len(self.accepted) - 1)] * 3)))
        together = {**self.history.changed(a, b), **self.history.changed(b, c)}
        assert together == self.history.changed(a, c)
        before, after = self.processes[0].differing(a, c) if a else ({}, self.processes[0].tree(c))
        told = {each.path for each in differences(settled(before), settled(after))}
        assert told == {each.path for each in differences(self.accepted[a], self.accepted[c])}

    def _try(self, process: Configuration[int], wanted: Tree, change: Any) -> None:
        state = self.history.head()
        try:
            revision = change()
        except InvalidDocument as invalid:
            assert all(problem.path for problem in invalid.problems)
            assert self.history.head() == state
        except AppError:
            assert UNCOMPILABLE in wanted["models"]
            assert self.history.head() == state
        else:
            self._note(wanted, revision)

    @invariant()
    def every_revision_is_what_was_accepted(self) -> None:
        assert self.history.head() == len(self.accepted) - 1
        for process in self.processes:
            live = process.live
            assert settled(live.checked.tree) == self.accepted[live.revision]
            assert live.digests == self.history.digests(live.revision)
            assert live.snapshot == live.revision

    def teardown(self) -> None:
        for revision, tree in enumerate(self.accepted):
            assert settled(self.history.tree(revision)) == tree
        for database in self._databases:
            database.close()
        shutil.rmtree(self._directory)


TestTwoProcesses = TwoProcesses.TestCase
TestTwoProcesses.settings = settings(max_examples=10, stateful_step_count=12)
