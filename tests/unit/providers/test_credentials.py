"""What a provider can be sent, and what is said of the rest."""

from dujiang.core.binding import Binding
from dujiang.core.errors import Misconfigured
from dujiang.core.secret import Secret
from dujiang.providers.credentials import sendable_credentials
from dujiang.providers.embedded.cache import explain_missing
from dujiang.providers.services import open_services
from dujiang.providers.settings import CredentialSettings, ProviderSettings

HOME = "https://api.openai.com:443"
STORED = {("main", Binding("openai", HOME)): "sk-stored", ("odd", Binding("openai", HOME)): "${HOME}"}


def reveal(name, binding):
    if (name, binding) not in STORED:
        raise Misconfigured(f"The secret `{name}` is not for this.")
    return Secret(STORED[name, binding])


def provider(*secrets, kind="openai", base_url=""):
    named = zip("abcdef", secrets, strict=False)
    return ProviderSettings(
        kind=kind,
        base_url=base_url,
        credentials=tuple(CredentialSettings(name=name, secret=Secret(text), weight=2) for name, text in named),
    )


def expand(text):
    return text.replace("${KEY}", "sk-environment").replace("${NONE:-}", "")


def sendable(settings, address=""):
    return sendable_credentials(settings, address, expand, reveal)


def opened(**providers):
    return open_services(providers, expand, reveal, {})


def test_stored_ones_are_revealed_and_never_expanded():
    found = sendable(provider("secret:main", "${KEY}", "sk-literal", "${NONE:-}", "secret:odd"))
    assert found.secrets == {
        "a": ("sk-stored", 2),
        "b": ("sk-environment", 2),
        "c": ("sk-literal", 2),
        "e": ("${HOME}", 2),
    }
    assert found.unusable == {}


def test_a_reference_that_comes_out_of_the_environment_is_not_followed():
    settings = provider("${KEY}")
    found = sendable_credentials(settings, "", lambda _: "secret:main", reveal)
    assert found.secrets == {"a": ("secret:main", 2)}


def test_those_that_may_not_go_there_are_left_out_with_the_reason():
    found = sendable(provider("secret:main", "sk-literal"), "https://evil.example/v1")
    assert found.secrets == {"b": ("sk-literal", 2)}
    assert found.unusable == {"a": "The secret `main` is not for this."}


def test_a_provider_with_one_good_credential_is_used():
    service = opened(p=provider("secret:lost", "sk-literal"))["p"]
    assert service.missing == ""
    assert service.unusable == {"a": "The secret `lost` is not for this."}
    service.close()


def test_a_provider_with_none_says_which_secrets_it_misses():
    services = opened(
        p=provider("secret:lost", "secret:lost"),
        e=provider("secret:main", kind="ernie"),
        none=provider("${NONE:-}"),
        embedded=ProviderSettings(kind="local"),
    )
    assert services["p"].missing == "The provider p has no usable credential. The secret `lost` is not for this."
    assert "`main`" in services["e"].missing
    assert "has no credential: give it one" in services["none"].missing
    assert services["embedded"].missing == explain_missing("default")


def test_an_address_that_is_none_gets_no_stored_secret():
    found = sendable(provider("secret:main"), "nonsense")
    assert found.secrets == {}
    assert "`main`" in found.unusable["a"]
