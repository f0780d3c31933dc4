"""Where a document names stored secrets, and what is said of those that may not go there."""

from dujiang.config.loader import read_document
from dujiang.config.stored import StoredReference, stored_findings, stored_references
from dujiang.core.binding import Binding
from dujiang.core.errors import Misconfigured
from dujiang.core.secret import Secret

DOCUMENT = read_document(
    b"""
    providers:
      p: {kind: openai, base_url: "${URL}", credentials: [{name: a, secret: plain}, {name: b, secret: "secret:main"}]}
      e: {kind: ernie, credentials: [{name: a, secret: "secret:ernie"}]}
      bad: {kind: openai, base_url: "${BAD}", credentials: [{name: a, secret: "secret:main"}]}
    """
)
P = StoredReference("providers.p.credentials[1].secret", "main", Binding("openai", "https://models.example:443"))


def expand(text):
    return text.replace("${URL}", "https://models.example/v1").replace("${BAD}", "ftp://x")


def test_each_is_found_with_its_place_and_its_binding():
    p, e = stored_references(DOCUMENT, expand)
    assert p == P
    assert (e.name, e.binding.kind) == ("ernie", "ernie")


def test_a_foreign_one_refuses_and_a_missing_one_is_a_doubt():
    def reveal(name, binding):
        reason = "foreign_secret" if name == "main" else "no_secret"
        raise Misconfigured(f"not `{name}`", reason=reason)

    found = stored_findings(DOCUMENT, expand, reveal)
    assert [str(each) for each in found.problems] == [f"{P.path}: not `main`"]
    assert [str(each) for each in found.warnings] == ["providers.e.credentials[0].secret: not `ernie`"]


def test_nothing_is_said_of_those_that_may():
    found = stored_findings(DOCUMENT, expand, lambda name, binding: Secret("sk-canary"))
    assert (found.problems, found.warnings) == ((), ())
