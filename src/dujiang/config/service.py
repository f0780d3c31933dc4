"""The configuration of one process: the revision it works by, how it changes it, and how it follows others' changes."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from itertools import islice
from typing import Generic, Protocol, TypeVar

from msgspec import Struct, structs

from dujiang.config.audit import Audit, AuditRow
from dujiang.config.author import Author, require_no_grant, require_sections
from dujiang.config.checked import Checked, Rules, check_tree, suspects, take_tree
from dujiang.config.entries import NAMED, Key, Tree, entry_of, join, split, whole
from dujiang.config.history import NO_REVISION, Change, History, Revision, StaleRevision
from dujiang.config.merge import grafted, merged, sharing, unshared
from dujiang.config.origins import Origins, require_privileges
from dujiang.config.problems import MAX_PROBLEMS, Findings, InvalidDocument
from dujiang.config.settings import AlertSettings, Document, Sections
from dujiang.config.unmask import Place, restored, sealed, secrets_of, shown_tree
from dujiang.config.warnings import warnings_of
from dujiang.core.binding import Binding
from dujiang.core.errors import AppError, Forbidden, Unprocessable
from dujiang.core.problem import Problem, at
from dujiang.core.secret import Secret

S = TypeVar("S")
"""What a document is compiled into."""

MAX_COMMENT_CHARACTERS = 1000
_EDIT_TRIES = 10

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


class Live(Struct, Generic[S], frozen=True):
    """A revision at work. `digests` has the entries that it consists of."""

    revision: int
    checked: Checked
    digests: dict[Key, bytes]
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

    @property
    def live(self) -> Live[S]:
        """Raises `RuntimeError` before `load`."""
        if self._live is None:
            raise RuntimeError("the configuration is not loaded")
        return self._live

    def load(self) -> Live[S]:
        """Take up the newest revision; where there is none, the default document under the number 0.

        Raises an `AppError` where it cannot be compiled.
        """
        revision = self._history.head()
        digests = self._history.digests(revision)
        self._live = self._taken(revision, self._history.tree(revision), digests)
        return self._live

    def follow(self) -> Live[S] | None:
        """Take up what another process made the newest revision, or a stored secret; None where nothing is new.

        Raises an `AppError` where it cannot be compiled: the one before stays at work, and that one is not tried again.
        """
        revision = self._history.head()
        live = self.live
        if revision in {live.revision, self._refused}:
            return self._renewed(live)
        try:
            self._live = self._taken(revision, *self._advanced(live, revision))
        except AppError:
            self._refused = revision
            raise
        return self._live

    def describe(self, revision: int) -> Revision:
        """What a revision says of itself. Raises `NotFound`."""
        return self._history.describe(revision)

    def revisions(self, before: int | None, limit: int) -> list[Revision]:
        """Revisions, the newest first, from the one before `before` on."""
        return self._history.list(before, limit)

    def audited(self, before: str | None, limit: int) -> list[AuditRow]:
        """Who changed what, and who tried in vain, the newest first, from the one before `before` on."""
        return self._audit.list(before, limit)

    def secrets(self) -> tuple[tuple[Place, str], ...]:
        """What `***` stands for in the document at work."""
        return tuple(secrets_of(self.live.checked.tree))

    def tree(self, revision: int) -> Tree:
        """The document of a revision, without its secrets. Raises `NotFound`."""
        live = self.live
        return shown_tree(live.checked.tree if revision == live.revision else self._history.tree(revision))

    def differing(self, before: int, after: int) -> tuple[Tree, Tree]:
        """The names of two revisions that differ, without their secrets. Raises `NotFound`."""
        one, other = self._digests(before), self._digests(after)
        changed = {whole(key) for key in {**one, **other} if one.get(key) != other.get(key)}
        return self._shown_part(one, changed), self._shown_part(other, changed)

    def note_refusal(self, author: Author, action: str, error: AppError) -> None:
        """Leave a row in the audit of a document that was refused before it came here."""
        self._audit.add(author.name, action, "refused", _reason(error))

    def put(self, tree: Given, parent: int, author: Author, comment: str = "") -> Proposal:
        """Make a whole document the next revision, and work by it. As `apply`."""
        return self.apply(tree, parent, author, "put", comment)

    def patch(self, patch: Tree, parent: int, author: Author, comment: str = "") -> Proposal:
        """Make the newest revision with a JSON merge patch the next one. As `apply`."""
        return self.apply(merged(self.live.checked.tree, patch), parent, author, "patch", comment)

    def edit(self, section: str, name: str, make: Callable[[Tree | None], Tree | None], author: Author) -> Proposal:
        """Change one name of a section in the newest revision, whichever that is. `make` gets what the name holds, None
        for nothing, and gives what it shall hold; it may be asked again where somebody else was faster. As `apply`.
        """
        for _ in range(_EDIT_TRIES):
            self.follow()
            checked = self.live.checked
            known = checked.full.get(section, {})
            made = make(known.get(name))
            content = {key: part for key, part in known.items() if key != name}
            if made is not None:
                content = {**known, name: made}
            tree = {**checked.tree, **_with_its_like(section, checked.full), section: content}
            action = "delete" if made is None else "create" if name not in known else "change"
            try:
                return self.apply(tree, self.live.revision, author, action, f"{section}.{name}")
            except StaleRevision:
                continue
        raise StaleRevision(self.live.revision)

    def roll_back(self, revision: int, parent: int | None, author: Author, comment: str = "") -> Proposal:
        """Make an earlier revision the next one; without `parent`, whatever is the newest. Raises `NotFound`, and as
        `apply`. What its providers may read and send was settled when it was made.
        """
        tree = self._history.tree(revision)
        settled = take_tree(tree, self._rules)
        shared = sharing(tree, self.live.checked.tree)
        said = comment or f"back to revision {revision}"
        newest = self._history.head() if parent is None else parent
        return self.apply(shared, newest, author, "rollback", said, settled=settled)

    def judge(self, tree: Given, author: Author) -> Proposal:
        """As `propose`, with doubts of the whole document."""
        proposal = self.propose(tree, author)
        document = proposal.checked.document
        doubts = dict.fromkeys((*proposal.warnings, *self._doubts(document, document)))
        return structs.replace(proposal, warnings=tuple(islice(doubts, MAX_PROBLEMS)))

    def propose(self, tree: Given, author: Author, settled: Checked | None = None) -> Proposal:
        """What a document would change, with doubts of what it changes. Changes nothing.

        Raises `InvalidDocument` with all that is wrong, `Forbidden` for what its author may not write.
        """
        live = self.live
        before = live.checked
        checked = self._checked(tree, live)
        require_sections(author, before, checked)
        require_no_grant(author, before, checked)
        require_privileges(author, before, checked)
        if not author.is_operator:
            _refuse(tuple(self._origins.problems(settled or before, checked)))
        found = self._look(_changed_upstreams(before.document, checked.document))
        _refuse(found.problems)
        digests, changes = self._changes(live, checked)
        doubts = (*found.warnings, *self._doubts(suspects(checked, before), checked.document))
        return Proposal(live.revision, checked, digests, changes, doubts, live.revision)

    def apply(
        self, tree: Given, parent: int, author: Author, action: str, comment: str, settled: Checked | None = None
    ) -> Proposal:
        """Check, compile and store a document as the revision after `parent`, and work by it: all of that or nothing.

        A document that changes nothing makes no revision. Raises `StaleRevision`, and as `propose`. Whoever may not
        write it leaves a row in the audit.
        """
        try:
            if self._history.head() != self.live.revision:
                self.follow()
            if parent != self.live.revision:
                raise StaleRevision(self.live.revision)
            proposal = self.propose(tree, author, settled)
            if not proposal.changes:
                return proposal
            return self._applied(self._sealed(proposal, author), author, action, comment)
        except (Forbidden, Unprocessable) as error:
            self.note_refusal(author, action, error)
            raise

    def _digests(self, revision: int) -> Mapping[Key, bytes]:
        return self.live.digests if revision == self.live.revision else self._history.digests(revision)

    def _shown_part(self, digests: Mapping[Key, bytes], wanted: Collection[Key]) -> Tree:
        """The wanted names of a revision; sections stay, so that an absent name is not taken for an absent section."""
        kept = {
            key: digest for key, digest in digests.items() if whole(key) in wanted or (key[0] in NAMED and not key[1])
        }
        parts = self._history.parts(kept.values())
        return shown_tree(join({key: parts[digest] for key, digest in kept.items()}))

    def compiled(self, proposal: Proposal) -> S:
        """What calls would be served from. Raises an `AppError` where that cannot be."""
        return self._compile(proposal.checked.document, proposal.parent + 1, self.live.snapshot)

    def _checked(self, given: Given, live: Live[S]) -> Checked:
        before = live.checked
        if isinstance(given, Vetted) and given.revision == live.revision:
            return take_tree(sharing(given.tree, before.tree), self._rules, before)
        tree = given.tree if isinstance(given, Vetted) else given
        whole = restored(tree, dict(secrets_of(before.tree)))
        return check_tree(sharing(whole, before.tree), self._rules, before)

    def _applied(self, proposal: Proposal, author: Author, action: str, comment: str) -> Proposal:
        revision, snapshot = proposal.parent + 1, self.compiled(proposal)
        said = comment[:MAX_COMMENT_CHARACTERS]
        self._history.append(proposal.parent, proposal.changes, author.name, said)
        self._live = Live(revision, proposal.checked, proposal.digests, snapshot)
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
        digests, changes = self._changes(self.live, checked)
        return structs.replace(proposal, checked=checked, digests=digests, changes=changes)

    def _renewed(self, live: Live[S]) -> Live[S] | None:
        """The same revision with other secrets, None where they are the same."""
        mark = self._secrets.mark()
        if mark == self._secrets_mark:
            return None
        self._secrets_mark = mark
        self._live = structs.replace(live, snapshot=self._compile(live.checked.document, live.revision, live.snapshot))
        return self._live

    def _advanced(self, live: Live[S], revision: int) -> tuple[Tree, dict[Key, bytes]]:
        """The document of a later revision, of which only that is read which changed."""
        made = self._history.changed(live.revision, revision)
        digests = {key: digest for key, digest in {**live.digests, **made}.items() if digest is not None}
        names = {whole(key) for key in made}
        wanted = {key: digest for key, digest in digests.items() if key in names or whole(key) in names}
        parts = self._history.parts(wanted.values())
        fresh = join({key: parts[digest] for key, digest in wanted.items()})
        return grafted(live.checked.tree, fresh, names), digests

    def _taken(self, revision: int, tree: Tree, digests: dict[Key, bytes]) -> Live[S]:
        before = self._live
        self._secrets_mark = self._secrets.mark()
        checked = take_tree(tree, self._rules, before.checked if before else None)
        snapshot = self._compile(checked.document, revision, before.snapshot if before else None)
        return Live(revision, checked, digests, snapshot)

    def _changes(self, live: Live[S], checked: Checked) -> tuple[dict[Key, bytes], tuple[Change, ...]]:
        """The entries of a document by digest, and how they differ from those at work."""
        now, before = checked.tree, live.checked.tree
        made = {key: entry_of(part) for key, part in split(unshared(now, before))}
        gone = [key for key, _ in split(unshared(before, now)) if key not in made]
        digests = live.digests | {key: entry.digest for key, entry in made.items()}
        for key in gone:
            del digests[key]
        put = [Change(key, entry) for key, entry in made.items() if live.digests.get(key) != entry.digest]
        _refuse(tuple(_excess(digests, put)))
        return digests, (*put, *(Change(key, None) for key in gone))

    def _doubts(self, suspect: Document, document: Document) -> tuple[Problem, ...]:
        """The first of them: nobody reads thousands."""
        return tuple(islice(warnings_of(suspect, document, self._rules.environ or {}), MAX_PROBLEMS))


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
