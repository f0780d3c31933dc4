"""The configuration of a process, put together; and the first revision of an empty database."""

import asyncio
import logging
import os
from collections.abc import Mapping
from typing import Literal, TypeVar

from msgspec import Struct

from dujiang.config.author import operator
from dujiang.config.entries import Tree, entry_of
from dujiang.config.environment import expand
from dujiang.config.history import NO_REVISION, History
from dujiang.config.loader import default_tree, rules
from dujiang.config.origins import Origins
from dujiang.config.problems import Findings
from dujiang.config.reach import reach_findings
from dujiang.config.service import Compile, Configuration, Look
from dujiang.config.settings import Document, Sections
from dujiang.config.stored import stored_findings
from dujiang.config.tree import read_tree
from dujiang.config.unmask import shown_tree
from dujiang.providers.resolve import SystemResolver
from dujiang.storage.audit import Audit
from dujiang.storage.database import Database
from dujiang.storage.secrets import SecretStore

ALLOWED_VARIABLE = "DUJIANG_ENV_ALLOW"
"""The variables, divided by commas, that a document which comes over the network may name."""

BUILT_IN = "default"
"""The author of the default document."""

S = TypeVar("S")

_log = logging.getLogger(__name__)


def open_configuration(
    database: Database, secrets: SecretStore, compile: Compile[S], environ: Mapping[str, str] = os.environ
) -> Configuration[S]:
    """A configuration that is not loaded yet."""
    allowed = frozenset(name.strip() for name in environ.get(ALLOWED_VARIABLE, "").split(",") if name.strip())
    return Configuration(
        History(database),
        Audit(database),
        rules(environ=environ),
        Origins(environ, allowed),
        secrets,
        _surroundings(secrets, environ),
        compile,
    )


def _surroundings(secrets: SecretStore, environ: Mapping[str, str]) -> Look:
    def look(sections: Sections) -> Findings:
        if not sections.providers and not sections.alerts.url:
            return Findings()

        def expanded(text: str) -> str:
            return expand(text, environ)

        stored = stored_findings(sections, expanded, secrets.reveal)
        reached = asyncio.run(reach_findings(sections, expanded, SystemResolver()))
        return Findings((*stored.problems, *reached.problems), (*stored.warnings, *reached.warnings))

    return look


def compile_nothing(document: Document, revision: int, before: None = None) -> None:
    """For those who change a configuration and serve nothing."""


class Given(Struct, frozen=True):
    """A document that the server was started with. `use` says when it becomes a revision: `first`, of a database that
    has none but the default one, or `now`.
    """

    text: bytes
    use: Literal["first", "now"] = "first"


def begin(configuration: Configuration[None], given: Given | None) -> Document:
    """Leave the database with a revision, and return its document.

    An empty database gets the given document, or the default one; a default document that nobody changed follows that
    of the release. Raises `InvalidDocument`, and nothing is stored then.
    """
    configuration.load()
    revision = configuration.newest().revision
    is_untouched = revision == NO_REVISION or configuration.history.describe(revision).author == BUILT_IN
    tree = read_tree(given.text, "auto") if given is not None else default_tree()
    if given is None:
        if is_untouched:
            _put(configuration, tree, BUILT_IN)
    elif is_untouched or given.use == "now":
        _put(configuration, tree, "file")
    elif entry_of(shown_tree(tree)) != entry_of(configuration.tree(revision)):
        _log.warning(
            "revision %d is at work, not the given document, which differs: the database is the one source of truth. "
            "`--apply` makes the document a new revision",
            revision,
        )
    return configuration.newest().checked.document


def _put(configuration: Configuration[None], tree: Tree, author: str) -> None:
    configuration.put(tree, configuration.newest().revision, operator(author))
