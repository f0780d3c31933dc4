import importlib.resources

import pytest

from dujiang.config.effect import not_in_effect
from dujiang.config.loader import load, read_document
from dujiang.config.upstreams import is_configured
from dujiang.config.warnings import warnings

MODELS = {"local", "gpt-4", "gpt-4o-mini", "ernie-4.0", "ernie-4.5", "ernie-5.0", "ernie-speed", "ernie-lite"}
ROLES = {"admin", "operator", "developer", "user", "guest"}


def test_without_a_document_there_is_an_embedded_model_a_scene_and_the_five_roles():
    document = load(None, {})
    assert document.models["local"].targets[0].provider == "local"
    assert document.providers["local"].kind == "local"
    assert document.providers["local"].model_file == "qwen2.5-coder-0.5b-instruct-q4_k_m"
    assert document.scenes.keys() == {"scene_1"}
    assert document.roles.keys() == ROLES
    assert document.roles["guest"].models == ("local",)


def test_nobody_is_blamed_for_it():
    document = load(None, {})
    assert warnings(document, {}) == ()
    assert not_in_effect(document) == ()


def test_its_file_reads_the_same():
    text = importlib.resources.files("dujiang").joinpath("default.yaml").read_bytes()
    assert read_document(text, environ={}) == load(None, {})


def test_openai_is_there_once_its_key_is():
    openai = load(None, {}).providers["openai"]
    assert not is_configured(openai, {})
    assert not is_configured(openai, {"OPENAI_API_KEY": ""})
    assert is_configured(openai, {"OPENAI_API_KEY": "sk-1"})
    load(None, {"OPENAI_API_KEY": "sk-1", "OPENAI_BASE_URL": "http://127.0.0.1:9000/v1"})


def test_an_empty_document_is_the_default_one():
    empty, default = read_document(b""), load(None, {})
    for section in ("providers", "models", "scenes", "roles"):
        assert getattr(empty, section) == getattr(default, section)


@pytest.mark.parametrize(
    ("text", "models", "scenes", "roles"),
    [
        (b"providers: {p: {kind: deepseek}}", set(), {"scene_1"}, ROLES),
        (b"models: {}", set(), {"scene_1"}, ROLES),
        (b"scenes: {}", MODELS, set(), ROLES),
        (b"roles: {r: {permissions: []}}", MODELS, {"scene_1"}, {"r"}),
    ],
)
def test_what_a_document_says_is_never_mixed_with_the_default(text, models, scenes, roles):
    document = read_document(text)
    assert (document.models.keys(), document.scenes.keys(), document.roles.keys()) == (models, scenes, roles)


def test_an_alias_may_lead_to_a_default_model():
    assert read_document(b"aliases: {a: local}").aliases == {"a": "local"}


def test_defaults_are_those_of_the_example():
    document = read_document(b"")
    resilience = document.resilience
    assert (resilience.timeouts.connect_s, resilience.timeouts.total_s) == (3, 300)
    assert (resilience.timeouts.first_token_s, resilience.timeouts.idle_s) == (30, 20)
    assert (resilience.retry.max_attempts, resilience.breaker.window, resilience.concurrency.queue) == (3, 20, 512)
    assert document.cache.exact.enabled
    assert not document.cache.semantic.enabled
    assert (document.limits.default.rpm, document.records.content) == (None, "masked")
