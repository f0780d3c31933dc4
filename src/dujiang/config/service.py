"""The configuration of one process: the revision it works by, how it changes it, and how it follows others' changes."""

from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from itertools import islice
from typing import Any, Generic, Protocol

from msgspec import ValidationError, structs

from dujiang.config.author import Author, require_sections
from dujiang.config.budget_grants import require_no_loosening
from dujiang.config.checked import Checked, Rules, check_tree, suspects, take_tree
from dujiang.config.entries import NAMED, Key, Tree, join, whole
from dujiang.config.granting import require_no_grant
from dujiang.config.history import NO_REVISION, History, StaleRevision
from dujiang.config.merge import grafted, merged, sharing
from dujiang.config.origins import Origins, require_privileges
from dujiang.config.problems import MAX_PROBLEMS, Findings, InvalidDocument
from dujiang.config.settings import Document, Sections
from dujiang.config.state import Given, Live, Proposal, S, State, Vetted, changed_upstreams, changes_from, with_its_like
from dujiang.config.told import told
from dujiang.config.unmask import Place, restored, sealed, secrets_of, shown_tree
from dujiang.config.warnings import warnings_of
from dujiang.core.binding import Binding
from dujiang.core.errors import AppError, Forbidden, Misconfigured, Unprocessable
from dujiang.core.problem import Problem
from dujiang.core.secret import Secret
from dujiang.storage.audit import Audit, Deed

MAX_COMMENT_CHARACTERS = 1000
_EDIT_TRIES = 10
_FALLBACKS = 10


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
        self.history = history
        self.audit = audit
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
        head = self.history.head()
        if head != self.live.revision:
            with suppress(AppError):
                self.follow()
        if head == self.live.revision:
            return self.live
        if self._unused is None or self._unused.revision != head:
            checked = self._taken(head, self.history.tree(head))
            self._unused = State(head, checked, self.history.digests(head))
        return self._unused

    def load(self) -> Live[S]:
        """Take up the newest revision; where there is none, the default document under the number 0.

        One that cannot be used here, the environment being what it is, leaves the one before it to serve, and `trouble`
        says why. Raises an `AppError` where none of the last `_FALLBACKS` can be used.
        """
        head = self.history.head()
        for revision in range(head, max(head - _FALLBACKS, NO_REVISION), -1):
            try:
                return self._compiled(revision, self.history.tree(revision), self.history.digests(revision))
            except AppError as error:
                self.trouble = self.trouble or error.message
                self._refused = head
        return self._compiled(head, self.history.tree(head), self.history.digests(head))

    def follow(self) -> Live[S] | None:
        """Take up what another process made the newest revision, or a stored secret; None where nothing is new.

        Raises an `AppError` where it cannot be compiled: the one before stays at work, and that one is not tried again.
        """
        revision = self.history.head()
        if revision in {self.live.revision, self._refused}:
            return self._renewed(self.live)
        try:
            live = self._compiled(revision, *self._advanced(self.live, revision))
        except AppError as error:
            self._refused = revision
            self.trouble = error.message
            raise
        self.trouble = None
        return live

    def secrets(self) -> tuple[tuple[Place, str], ...]:
        """What `***` stands for in the newest document."""
        return tuple(secrets_of(self.newest().checked.tree))

    def tree(self, revision: int) -> Tree:
        """The document of a revision, without its secrets. Raises `NotFound`."""
        newest = self.newest()
        return shown_tree(newest.checked.tree if revision == newest.revision else self.history.tree(revision))

    def differing(self, before: int, after: int) -> tuple[Tree, Tree]:
        """The names of two revisions that differ, without their secrets. Raises `NotFound`."""
        one, other = self._digests(before), self._digests(after)
        changed = {whole(key) for key in {**one, **other} if one.get(key) != other.get(key)}
        return self._shown_part(one, changed), self._shown_part(other, changed)

    def note_refusal(self, author: Author, action: str, error: AppError) -> None:
        """Leave a row in the audit of a document that was refused before it came here."""
        self.audit.add(Deed(author.name, action, "config", "refused", _reason(error)))

    def put(self, tree: Given, parent: int, author: Author, comment: str = "") -> Proposal:
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
            stand_ins |= with_its_like(name, checked.full)
        base = {**stand_ins, **checked.tree} if stand_ins.keys() - checked.tree.keys() else checked.tree
        return self.apply(merged(base, patch), parent, author, "patch", comment)

    def edit(self, section: str, name: str, make: Callable[[Tree | None], Tree | None], author: Author) -> Proposal:
        """Change one name of a section in the newest revision, whichever that is. `make` gets what the name holds, None
        for nothing, and gives what it shall hold; it may be asked again where somebody else was faster. As `apply`.
        """

        def edited(checked: Checked) -> tuple[Tree, str]:
            known = checked.full.get(section, {})
            made = make(known.get(name))
            content = {key: part for key, part in known.items() if key != name}
            if made is not None:
                content = {**known, name: made}
            tree = {**checked.tree, **with_its_like(section, checked.full), section: content}
            return tree, "delete" if made is None else "create" if name not in known else "change"

        return self._edited(edited, author, f"{section}.{name}")

    def edit_list(
        self, section: str, make: Callable[[list[Any]], list[Any]], author: Author, action: str, comment: str
    ) -> Proposal:
        """Change a section that is a list, as `edit` does a name."""

        def edited(checked: Checked) -> tuple[Tree, str]:
            return {**checked.tree, section: make(checked.tree.get(section, []))}, action

        return self._edited(edited, author, comment)

    def roll_back(self, revision: int, parent: int | None, author: Author, comment: str = "") -> Proposal:
        """Make an earlier revision the next one; without `parent`, whatever is the newest. Raises `NotFound`, and as
        `apply`. What its providers may read and send was settled when it was made.
        """
        tree = self.history.tree(revision)
        settled = take_tree(tree, self._rules)
        newest = self.newest()
        shared = sharing(tree, newest.checked.tree)
        said = comment or f"back to revision {revision}"
        made_from = newest.revision if parent is None else parent
        return self.apply(shared, made_from, author, "rollback", said, settled=settled)

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
        newest = self.newest()
        before = newest.checked
        checked = self._checked(tree, newest)
        require_sections(author, before, checked)
        require_no_grant(author, before, checked)
        require_no_loosening(author, before, checked)
        require_privileges(author, before, checked)
        if not author.is_operator:
            _refuse(tuple(self._origins.problems(settled or before, checked)))
        found = self._look(changed_upstreams(before.document, checked.document))
        _refuse(found.problems)
        digests, changes = changes_from(newest, checked)
        doubts = (*found.warnings, *self._doubts(suspects(checked, before), checked.document))
        return Proposal(newest.revision, checked, digests, changes, doubts, newest.revision)

    def apply(
        self, tree: Given, parent: int, author: Author, action: str, comment: str, settled: Checked | None = None
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
            self.note_refusal(author, action, error)
            raise

    def compiled(self, proposal: Proposal) -> S:
        """What calls would be served from. Raises an `AppError` where that cannot be."""
        return self._compile(proposal.checked.document, proposal.parent + 1, self.live.snapshot)

    def _edited(self, edit: Callable[[Checked], tuple[Tree, str]], author: Author, comment: str) -> Proposal:
        """Apply what `edit` makes of the newest revision; it is asked again where somebody else was faster."""
        for _ in range(_EDIT_TRIES):
            newest = self.newest()
            tree, action = edit(newest.checked)
            try:
                return self.apply(tree, newest.revision, author, action, comment)
            except StaleRevision:
                continue
        raise StaleRevision(self.history.head())

    def _checked(self, given: Given, newest: State) -> Checked:
        before = newest.checked
        if isinstance(given, Vetted) and given.revision == newest.revision:
            return take_tree(sharing(given.tree, before.tree), self._rules, before)
        tree = given.tree if isinstance(given, Vetted) else given
        whole = restored(tree, dict(secrets_of(before.tree)))
        return check_tree(sharing(whole, before.tree), self._rules, before)

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
        newest = self.newest()
        checked = take_tree(sharing(tree, newest.checked.tree), self._rules, newest.checked)
        digests, changes = changes_from(newest, checked)
        return structs.replace(proposal, checked=checked, digests=digests, changes=changes)

    def _applied(self, proposal: Proposal, author: Author, action: str, comment: str) -> Proposal:
        revision, snapshot = proposal.parent + 1, self.compiled(proposal)
        names = {whole(change.key) for change in proposal.changes}
        before, after = (told(checked.tree, names) for checked in (self.newest().checked, proposal.checked))
        deed = Deed(author.name, action, "config", detail=f"revision {revision}", before=before, after=after)
        self.history.append(proposal.parent, proposal.changes, deed, comment[:MAX_COMMENT_CHARACTERS])
        self._live = Live(revision, proposal.checked, proposal.digests, snapshot)
        self.trouble = None
        return structs.replace(proposal, revision=revision)

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
        made = self.history.changed(live.revision, revision)
        digests = {key: digest for key, digest in {**live.digests, **made}.items() if digest is not None}
        names = {whole(key) for key in made}
        wanted = {key: digest for key, digest in digests.items() if key in names or whole(key) in names}
        parts = self.history.parts(wanted.values())
        fresh = join({key: parts[digest] for key, digest in wanted.items()})
        return grafted(live.checked.tree, fresh, names), digests

    def _compiled(self, revision: int, tree: Tree, digests: dict[Key, bytes]) -> Live[S]:
        self._secrets_mark = self._secrets.mark()
        checked = self._taken(revision, tree)
        snapshot = self._compile(checked.document, revision, self._live.snapshot if self._live else None)
        self._live = Live(revision, checked, digests, snapshot)
        return self._live

    def _taken(self, revision: int, tree: Tree) -> Checked:
        """A stored document, read again. Raises `Misconfigured` for one that another release has stored."""
        try:
            return take_tree(tree, self._rules, self._live.checked if self._live else None)
        except ValidationError as error:
            raise Misconfigured(f"Revision {revision} of the configuration is not for this release: {error}.") from None

    def _digests(self, revision: int) -> Mapping[Key, bytes]:
        return self.live.digests if revision == self.live.revision else self.history.digests(revision)

    def _shown_part(self, digests: Mapping[Key, bytes], wanted: Collection[Key]) -> Tree:
        """The wanted names of a revision; sections stay, so that an absent name is not taken for an absent section."""
        kept = {
            key: digest for key, digest in digests.items() if whole(key) in wanted or (key[0] in NAMED and not key[1])
        }
        parts = self.history.parts(kept.values())
        return shown_tree(join({key: parts[digest] for key, digest in kept.items()}))

    def _doubts(self, suspect: Document, document: Document) -> tuple[Problem, ...]:
        """The first of them: nobody reads thousands."""
        return tuple(islice(warnings_of(suspect, document, self._rules.environ or {}), MAX_PROBLEMS))


def _refuse(problems: tuple[Problem, ...]) -> None:
    if problems:
        raise InvalidDocument(problems)


def _reason(error: AppError) -> str:
    """What is told of a refusal: where, and why. Messages hold no values that are secret."""
    if isinstance(error, InvalidDocument):
        return "; ".join(map(str, error.problems[:10]))
    return error.message
