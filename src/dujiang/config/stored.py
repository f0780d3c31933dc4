"""Whether the stored secrets that a document names are there, and may go where it sends them."""

from collections.abc import Callable, Iterator

from msgspec import Struct

from dujiang.config.problems import Findings
from dujiang.config.settings import Sections
from dujiang.core.binding import Binding
from dujiang.core.errors import Misconfigured
from dujiang.core.problem import Problem, at
from dujiang.core.secret import Secret, stored_name
from dujiang.providers.binding import binding_of
from dujiang.providers.credentials import Reveal

ALERTS = "alerts"
"""The kind of the alerts' receiver in the binding of its secret."""

_REFUSED = "foreign_secret"


class StoredReference(Struct, frozen=True):
    """A `secret:NAME` of a document: where it is, the name, and whom it would be sent to."""

    path: str
    name: str
    binding: Binding


def stored_references(sections: Sections, expand: Callable[[str], str]) -> Iterator[StoredReference]:
    """Every one that would be sent somewhere. `expand` replaces `${NAME}`."""
    for path, secret, kind, address in _places(sections):
        name = stored_name(secret.reveal())
        if name is None:
            continue
        try:
            binding = binding_of(kind, expand(address))
        except ValueError:
            continue  # no address, or the reader's to refuse
        yield StoredReference(path, name, binding)


def _places(sections: Sections) -> Iterator[tuple[str, Secret, str, str]]:
    for name, provider in sections.providers.items():
        path = at("providers", name)
        for n, credential in enumerate(provider.credentials):
            yield f"{at(f'{path}.credentials', n)}.secret", credential.secret, provider.kind, provider.base_url
    yield "alerts.secret", sections.alerts.secret, ALERTS, sections.alerts.url


def stored_findings(sections: Sections, expand: Callable[[str], str], reveal: Reveal) -> Findings:
    """A secret that is bound to another kind or origin refuses the document; one that is not there, or not readable
    under the present key, is a doubt. Reads the database: not for the event loop.
    """
    problems: list[Problem] = []
    warnings: list[Problem] = []
    for each in stored_references(sections, expand):
        try:
            reveal(each.name, each.binding)
        except Misconfigured as error:
            (problems if error.reason == _REFUSED else warnings).append(Problem(each.path, error.message))
    return Findings(tuple(problems), tuple(warnings))
