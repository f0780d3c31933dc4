import pytest

from dujiang.config.environment import UnresolvedReference, expand, shown
from dujiang.config.loader import read_document
from dujiang.config.masking import masked
from dujiang.config.problems import InvalidDocument
from dujiang.config.upstreams import usable_credentials
from dujiang.core.secret import Secret


def provider(base_url="https://api.example.com/v1", secret="sk-1", extra=""):
    return f"""
    providers:
      p: {{kind: openai, base_url: '{base_url}', credentials: [{{name: main, secret: '{secret}'}}]{extra}}}
    """.encode()


def problems(text, **options):
    with pytest.raises(InvalidDocument) as refused:
        read_document(text, **options)
    return {problem.path: problem.message for problem in refused.value.problems}


@pytest.mark.parametrize(
    ("text", "environ", "expanded"),
    [
        ("${A}", {"A": "x"}, "x"),
        ("${A}", {"A": ""}, ""),
        ("${A:-d}", {}, "d"),
        ("${A:-d}", {"A": ""}, "d"),
        ("${A:-d}", {"A": "x"}, "x"),
        ("${A:-}", {}, ""),
        ("${A:-https://h:1/v1}", {}, "https://h:1/v1"),
        ("${A}:${B}", {"A": "ak", "B": "sk"}, "ak:sk"),
        ("${A}", {"A": "${B}", "B": "no"}, "${B}"),
        ("$A {A} $$ ${}", {"A": "x"}, "$A {A} $$ ${}"),
    ],
)
def test_expands_once(text, environ, expanded):
    assert expand(text, environ) == expanded


@pytest.mark.parametrize("text", ["${A}", "${DUJIANG_SECRET_KEY}", "${DUJIANG_ADMIN_KEY:-x}"])
def test_refuses_what_is_missing_or_reserved(text):
    with pytest.raises(UnresolvedReference) as refused:
        expand(text, {"DUJIANG_SECRET_KEY": "hidden", "DUJIANG_ADMIN_KEY": "hidden"})
    assert "hidden" not in str(refused.value)


def test_a_document_keeps_references_unexpanded():
    document = read_document(provider("${URL}", "${KEY}"), environ={"URL": "https://x.example/v1", "KEY": "sk-2"})
    assert document.providers["p"].base_url == "${URL}"
    assert document.providers["p"].credentials[0].secret.reveal() == "${KEY}"


def test_a_missing_variable_is_a_problem_only_where_the_environment_is_known():
    text = provider(secret="${KEY}")
    read_document(text)
    assert "no variable `KEY`" in problems(text, environ={})["providers.p.credentials[0].secret"]


@pytest.mark.parametrize("environ", [None, {"DUJIANG_X": "1"}])
def test_its_own_variables_are_out_of_reach(environ):
    found = problems(provider("https://x.example/${DUJIANG_X}", "${DUJIANG_X:-}"), environ=environ)
    assert set(found) == {"providers.p.base_url", "providers.p.credentials[0].secret"}


@pytest.mark.parametrize("text", ["${1A}", "${A", "${A-b}", "${A:-${B}}", "${ A }", "x${"])
def test_a_malformed_reference_is_a_problem(text):
    assert "`${NAME}`" in problems(provider(secret=text))["providers.p.credentials[0].secret"]


@pytest.mark.parametrize(
    ("url", "message"),
    [("http://127.0.0.1:1/v1", "private network"), ("ftp://x", "http"), ("http://169.254.169.254", "metadata")],
)
def test_an_address_from_the_environment_is_checked_like_any_other(url, message):
    text = provider("${URL}")
    read_document(text)
    assert message in problems(text, environ={"URL": url})["providers.p.base_url"]


def test_an_address_that_looks_like_a_stored_secret_is_none():
    assert "http" in problems(provider("secret:main"))["providers.p.base_url"]


def test_private_addresses_can_be_allowed_but_never_the_clouds_metadata():
    allowed = ", allow_private_network: true"
    read_document(provider("http://127.0.0.1:9000/v1", extra=allowed))
    found = problems(provider("http://169.254.169.254/latest", extra=allowed))
    assert "metadata" in found["providers.p.base_url"]


def test_references_elsewhere_are_plain_text():
    document = read_document(b"scenes: {s: {versions: [{version: 1, system: '${HOME} ${DUJIANG_SECRET_KEY}'}]}}")
    assert document.scenes["s"].versions[0].system == "${HOME} ${DUJIANG_SECRET_KEY}"


def test_a_credential_from_the_environment_must_fit_a_header():
    found = problems(provider(secret="${KEY}"), environ={"KEY": "sk-1\nX-Evil: 1"})
    assert "printable ASCII" in found["providers.p.credentials[0].secret"]
    assert "Evil" not in str(found)


def test_usable_credentials_are_expanded_and_the_rest_is_left_out():
    text = b"""
    providers:
      p:
        kind: deepseek
        credentials:
          - {name: a, secret: "${A:-}"}
          - {name: b, secret: "${B:-}", weight: 2}
          - {name: c, secret: "secret:stored"}
          - {name: d, secret: plain}
    """
    found = usable_credentials(read_document(text).providers["p"], {"B": "sk-b"})
    assert [(each.name, each.secret.reveal(), each.weight) for each in found] == [("b", "sk-b", 2), ("d", "plain", 1)]


@pytest.mark.parametrize(
    ("text", "printed"),
    [
        ("", ""),
        ("sk-live", "***"),
        ("${KEY}", "${KEY}"),
        ("${KEY:-}", "${KEY:-}"),
        ("${KEY:-sk-live}", "${KEY:-***}"),
        ("sk-${KEY}", "***"),
        ("secret:openai.main", "secret:openai.main"),
        ("secret:sealed-0f3a", "***"),
        ("secret:sk live", "***"),
    ],
)
def test_shows_references_and_nothing_else(text, printed):
    assert shown(Secret(text)) == printed


def test_a_masked_document_holds_no_secret_and_can_be_read_again_where_it_holds_references():
    document = read_document(provider(secret="${KEY:-}"))
    tree = masked(document)
    assert tree["providers"]["p"]["credentials"][0]["secret"] == "${KEY:-}"
    assert "sk-1" not in repr(masked(read_document(provider())))
    assert "sk-1" not in repr(read_document(provider()))
