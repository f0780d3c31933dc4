"""The configuration of one process: the revision it works by, how it changes it, and how it follows others' changes."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any, Generic, Protocol, TypeVar

from msgspec import Struct, ValidationError, structs

from dujiang.config.audit import Audit, AuditRow
from dujiang.config.author import Author, require_no_grant, require_sections
from dujiang.config.checked import Checked, Rules, check_tree, take_tree
from dujiang.config.entries import NAMED, Key, Tree, entry_of, parts_of
from dujiang.config.history import NO_REVISION, Change, History, Revision, StaleRevision
from dujiang.config.merge import merged, sharing
from dujiang.config.origins import Origins, require_privileges
from dujiang.config.problems import Findings, InvalidDocument
from dujiang.config.settings import AlertSettings, Document, Sections
from dujiang.config.unmask import Place, restored, sealed, secrets_of, shown_tree
from dujiang.config.warnings import warnings
from dujiang.core.binding import Binding
from dujiang.core.errors import AppError, Forbidden, Misconfigured, Unprocessable
from dujiang.core.problem import Problem, at
from dujiang.core.secret import Secret

S = TypeVar("S")
"""What a document is compiled into."""

MAX_COMMENT_CHARACTERS = 1000
_EDIT_TRIES = 10
_FALLBACKS = 10
_HISTORY_LIMIT = 200

MAX_ENTRIES = 100_000
MAX_ENTRY_BYTES = 1024 * 1024
"""Changes one by one must not build what no single document may be."""


class Secrets(Protocol):
    """The stored secrets. `mark` differs after every change of theirs."""

    def seal(self, value: Secret, binding: Binding, by: str) -> str:
        """Stores a literal secret, and returns the reference that a document holds in its place."""
        ...

    def mark(self) -> object: ...


Look = Callable[[Sections], Findings]
"""What is known only by asking the network and the stored secrets: where names lead, to whom secrets are bound."""


class Compile(Protocol[S]):
    """Makes of a document what calls are served from, taking over from the one before what did not change.

    Raises an `AppError` where that cannot be.
    """

    def __call__(self, document: Document, revision: int, before: S | None) -> S: ...


class State(Struct, frozen=True):
    """A revision in memory. `digests` has the entries that it consists of."""

    revision: int
    checked: Checked
    digests: Mapping[Key, bytes]


class Live(State, Generic[S], frozen=True):
    """A revision at work."""

    snapshot: S


class Proposal(Struct, frozen=True):
    """A document that may become the revision after `parent`, and what it would change.

    Once it is applied, `revision` is the one that it became: `parent` itself where it changed nothing.
    """

    parent: int
    checked: Checked
    digests: Mapping[Key, bytes]
    changes: tuple[Change, ...]
    warnings: tuple[Problem, ...]
    revision: int


class Configuration(Generic[S]):
    """Not for several threads at once: whoever owns it lets one do its work after the other. Every method blocks."""

    def __init__(
        self,
        history: History,
        audit: Audit,
        rules: Rules,
        origins: Origins,
        secrets: Secrets,
        look: Look,
        compile: Compile[S],
    ) -> None:
        self._history = history
        self._audit = audit
        self._rules = rules
        self._origins = origins
        self._secrets = secrets
        self._secrets_mark: object = None
        self._look = look
        self._compile = compile
        self._live: Live[S] | None = None
        self._refused = NO_REVISION
        self._unused: State | None = None
        self.trouble: str | None = None
        """Why the newest revision is not the one at work, None where it is."""

    @property
    def live(self) -> Live[S]:
        """Raises `RuntimeError` before `load`."""
        if self._live is None:
            raise RuntimeError("the configuration is not loaded")
        return self._live

    def newest(self) -> State:
        """The newest revision: the one at work, but where that cannot be used here."""
        head = self._history.head()
        if head != self.live.revision:
            with suppress(AppError):
                self.follow()
        if head == self.live.revision:
            return self.live
        if self._unused is None or self._unused.revision != head:
            checked = self._checked(head, self._history.tree(head))
            self._unused = State(head, checked, self._history.digests(head))
        return self._unused

    def load(self) -> Live[S]:
        """Take up the newest revision; where there is none, the default document under the number 0.

        One that cannot be used here, the environment being what it is, leaves the one before it to serve, and `trouble`
        says why. Raises an `AppError` where none of the last `_FALLBACKS` can be used.
        """
        head = self._history.head()
        for revision in range(head, max(head - _FALLBACKS, NO_REVISION), -1):
            try:
                return self._load(revision)
            except AppError as error:
                self.trouble = self.trouble or error.message
                self._refused = head
        return self._load(head)

    def _load(self, revision: int) -> Live[S]:
        self._live = self._taken(revision, self._history.tree(revision), self._history.digests(revision))
        return self._live

    def follow(self) -> Live[S] | None:
        """Take up what another process made the newest revision, or a stored secret; None where nothing is new.

        Raises an `AppError` where it cannot be compiled: the one before stays at work, and that one is not tried again.
        """
        revision = self._history.head()
        live = self.live
        if revision in {live.revision, self._refused}:
            return self._renewed(live)
        tree = sharing(self._history.tree(revision), live.checked.tree)
        try:
            self._live = self._taken(revision, tree, self._history.digests(revision))
        except AppError as error:
            self._refused = revision
            self.trouble = error.message
            raise
        self.trouble = None
        return self._live

    def describe(self, revision: int) -> Revision:
        """What a revision says of itself. Raises `NotFound`."""
        return self._history.describe(revision)

    def revisions(self, before: int | None, limit: int) -> list[Revision]:
        """Revisions, the newest first, from the one before `before` on."""
        return self._history.list(before, limit)

    def history_of(self, section: str, name: str) -> list[tuple[Revision, Tree | None]]:
        """The latest revisions that changed a name, the newest first, with what it held from then on: of a scene, all
        but its versions.
        """
        found = self._history.changes_of((section, name), _HISTORY_LIMIT)
        parts = self._history.parts(digest for _, digest in found if digest is not None)
        return [(revision, None if digest is None else parts[digest]) for revision, digest in found]

    def last_version(self, scene: str) -> int:
        """The highest number that a version of a scene ever had, 0 where it never had any."""
        names = self._history.names_ever("scenes", f"{scene}@")
        return max((int(name.rpartition("@")[2]) for name in names), default=0)

    def refuse(self, author: str, action: str, reason: str) -> None:
        """Note that somebody tried to write who may not write at all."""
        self._audit.add(author, action, "refused", reason)

    def audited(self, before: str | None, limit: int) -> list[AuditRow]:
        """Who changed what, and who tried in vain, the newest first, from the one before `before` on."""
        return self._audit.list(before, limit)

    def tree(self, revision: int) -> Tree:
        """The document of a revision, without its secrets. Raises `NotFound`."""
        newest = self.newest()
        return shown_tree(newest.checked.tree if revision == newest.revision else self._history.tree(revision))

    def put(self, tree: Tree, parent: int, author: Author, comment: str = "") -> Proposal:
        """Make a whole document the next revision, and work by it. As `apply`."""
        return self.apply(tree, parent, author, "put", comment)

    def patch(self, patch: Tree, parent: int, author: Author, comment: str = "") -> Proposal:
        """Make the newest revision with a JSON merge patch the next one. As `apply`.

        A patch of what the document leaves out changes what stands in for it: one more role does not end the default
        ones.
        """
        checked = self.newest().checked
        stand_ins = {name: checked.full[name] for name in patch if name not in checked.tree and name in checked.full}
        for name in patch:
            stand_ins |= _with_its_like(name, checked.full)
        base = {**stand_ins, **checked.tree}
        return self.apply(merged(base, patch), parent, author, "patch", comment)

    def edit(self, section: str, name: str, make: Callable[[Tree | None], Tree | None], author: Author) -> Proposal:
        """Change one name of a section in the newest revision, whichever that is. `make` gets what the name holds, None
        for nothing, and gives what it shall hold; it may be asked again where somebody else was faster. As `apply`.
        """
        for _ in range(_EDIT_TRIES):
            newest = self.newest()
            checked = newest.checked
            known = checked.full.get(section, {})
            made = make(known.get(name))
            content = {key: part for key, part in known.items() if key != name}
            if made is not None:
                content = {**known, name: made}
            tree = {**checked.tree, **_with_its_like(section, checked.full), section: content}
            action = "delete" if made is None else "create" if name not in known else "change"
            try:
                return self.apply(tree, newest.revision, author, action, f"{section}.{name}")
            except StaleRevision:
                continue
        raise StaleRevision(self._history.head())

    def roll_back(self, revision: int, parent: int | None, author: Author, comment: str = "") -> Proposal:
        """Make an earlier revision the next one; without `parent`, whatever is the newest. Raises `NotFound`, and as
        `apply`. What its providers may read and send was settled when it was made.
        """
        tree = self._history.tree(revision)
        settled = take_tree(tree, self._rules)
        shared = sharing(tree, self.newest().checked.tree)
        said = comment or f"back to revision {revision}"
        newest = self._history.head() if parent is None else parent
        return self.apply(shared, newest, author, "rollback", said, settled=settled)

    def propose(self, tree: Tree, author: Author, settled: Checked | None = None) -> Proposal:
        """What a document would change. Changes nothing.

        Raises `InvalidDocument` with all that is wrong, `Forbidden` for what its author may not write.
        """
        newest = self.newest()
        before = newest.checked
        checked = check_tree(sharing(restored(tree, before.tree), before.tree), self._rules, before)
        require_sections(author, before, checked)
        require_no_grant(author, before, checked)
        require_privileges(author, before, checked)
        if not author.is_operator:
            _refuse(tuple(self._origins.problems(settled or before, checked)))
        found = self._look(_changed_upstreams(before.document, checked.document))
        _refuse(found.problems)
        digests, changes = self._changes(newest, checked)
        doubts = (*warnings(checked.document, self._rules.environ or {}), *found.warnings)
        return Proposal(newest.revision, checked, digests, changes, doubts, newest.revision)

    def apply(
        self, tree: Tree, parent: int, author: Author, action: str, comment: str, settled: Checked | None = None
    ) -> Proposal:
        """Check, compile and store a document as the revision after `parent`, and work by it: all of that or nothing.

        A document that changes nothing makes no revision. Raises `StaleRevision`, and as `propose`. Whoever may not
        write it leaves a row in the audit.
        """
        try:
            if parent != (newest := self.newest().revision):
                raise StaleRevision(newest)
            proposal = self._sealed(self.propose(tree, author, settled), author)
            return self._applied(proposal, author, action, comment) if proposal.changes else proposal
        except (Forbidden, Unprocessable) as error:
            self._audit.add(author.name, action, "refused", _reason(error))
            raise

    def _applied(self, proposal: Proposal, author: Author, action: str, comment: str) -> Proposal:
        revision = proposal.parent + 1
        snapshot = self._compile(proposal.checked.document, revision, self.live.snapshot)
        said = comment[:MAX_COMMENT_CHARACTERS]
        self._history.append(proposal.parent, proposal.changes, author.name, said)
        self._live = Live(revision, proposal.checked, proposal.digests, snapshot)
        self.trouble = None
        self._audit.add(author.name, action, "applied", f"revision {revision}")
        return structs.replace(proposal, revision=revision)

    def _sealed(self, proposal: Proposal, author: Author) -> Proposal:
        """The proposal with references in the place of literal secrets, which are stored now."""
        document = proposal.checked.document

        def seal(place: Place, text: str) -> str:
            provider = document.providers.get(place.provider or "")
            bound = self._origins.binding(provider) if provider else self._origins.alerts_binding(document.alerts)
            return text if bound is None else self._secrets.seal(Secret(text), bound, author.name)

        tree = sealed(proposal.checked.tree, seal)
        if dict(secrets_of(tree)) == dict(secrets_of(proposal.checked.tree)):
            return proposal
        checked = take_tree(tree, self._rules, proposal.checked)
        digests, changes = self._changes(self.newest(), checked)
        return structs.replace(proposal, checked=checked, digests=digests, changes=changes)

    def _renewed(self, live: Live[S]) -> Live[S] | None:
        """The same revision with other secrets, None where they are the same."""
        mark = self._secrets.mark()
        if mark == self._secrets_mark:
            return None
        self._secrets_mark = mark
        self._live = structs.replace(live, snapshot=self._compile(live.checked.document, live.revision, live.snapshot))
        return self._live

    def _taken(self, revision: int, tree: Tree, digests: Mapping[Key, bytes]) -> Live[S]:
        self._secrets_mark = self._secrets.mark()
        checked = self._checked(revision, tree)
        snapshot = self._compile(checked.document, revision, self._live.snapshot if self._live else None)
        return Live(revision, checked, digests, snapshot)

    def _checked(self, revision: int, tree: Tree) -> Checked:
        """A stored document, read again. Raises `Misconfigured` for one that another release has stored."""
        try:
            return take_tree(tree, self._rules, self._live.checked if self._live else None)
        except ValidationError as error:
            raise Misconfigured(f"Revision {revision} of the configuration is not for this release: {error}.") from None

    def _changes(self, newest: State, checked: Checked) -> tuple[dict[Key, bytes], tuple[Change, ...]]:
        """The entries of a document by digest, and how they differ from those at work."""
        digests: dict[Key, bytes] = {}
        put: list[Change] = []
        for key, part, is_kept in _compared(checked.tree, newest.checked.tree):
            if is_kept and key in newest.digests:
                digests[key] = newest.digests[key]
                continue
            entry = entry_of(part)
            digests[key] = entry.digest
            if newest.digests.get(key) != entry.digest:
                put.append(Change(key, entry))
        _refuse(tuple(_excess(digests, put)))
        return digests, (*put, *(Change(key, None) for key in newest.digests if key not in digests))


def _changed_upstreams(before: Sections, after: Sections) -> Sections:
    """The providers and alerts that are not as they were."""
    known = before.providers
    changed = {name: provider for name, provider in after.providers.items() if known.get(name) is not provider}
    return Sections(providers=changed, alerts=after.alerts if after.alerts is not before.alerts else AlertSettings())


def _with_its_like(section: str, full: Tree) -> Tree:
    """What a document has to hold beside a section, so that the default document does not stand in for it: models and
    providers come together.
    """
    pair = ("providers", "models")
    return {name: full[name] for name in pair if name in full} if section in pair else {}


def _compared(tree: Tree, known: Tree) -> Iterator[tuple[Key, Any, bool]]:
    """Every part of a document by key, and whether it is the known document's own."""
    for section, content in tree.items():
        before = known.get(section)
        if section not in NAMED:
            yield (section, ""), content, content is before
            continue
        yield (section, ""), {}, before is not None
        for name, part in content.items():
            is_kept = before is not None and before.get(name) is part
            yield from ((key, each, is_kept) for key, each in parts_of(section, name, part))


def _excess(digests: Mapping[Key, bytes], put: Sequence[Change]) -> Iterator[Problem]:
    if len(digests) > MAX_ENTRIES:
        yield Problem("", f"has more than {MAX_ENTRIES} names")
    for change in put:
        if change.entry is not None and len(change.entry.text) > MAX_ENTRY_BYTES:
            section, name = change.key
            yield Problem(at(section, name) if name else section, f"is larger than {MAX_ENTRY_BYTES} bytes")


def _refuse(problems: tuple[Problem, ...]) -> None:
    if problems:
        raise InvalidDocument(problems)


def _reason(error: AppError) -> str:
    """What is told of a refusal: where, and why. Messages hold no values that are secret."""
    if isinstance(error, InvalidDocument):
        return "; ".join(map(str, error.problems[:10]))
    return error.message
