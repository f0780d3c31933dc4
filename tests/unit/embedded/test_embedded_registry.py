"""The registry file itself, and how models are found in it."""

import re

import pytest

from dujiang.providers.embedded.registry import UnknownModel, UrlSource, WheelsSource, find_model, known_models

MODELS = list(known_models().values())
SHA256 = re.compile(r"[0-9a-f]{64}")


def test_names_and_aliases_are_unique():
    names = [name for model in MODELS for name in (model.name, *model.aliases)]
    assert len(names) == len(set(names))


def test_default_is_the_small_qwen():
    assert find_model("default") is find_model("qwen2.5-coder-0.5b-instruct-q4_k_m")


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.name)
def test_every_model_is_pinned(model):
    assert SHA256.fullmatch(model.sha256)
    assert model.file.endswith(".gguf")
    for source in model.sources:
        if isinstance(source, WheelsSource):
            assert sum(wheel.member_bytes for wheel in source.wheels) == model.bytes
            assert all(SHA256.fullmatch(wheel.sha256) for wheel in source.wheels)
            assert len({wheel.sha256 for wheel in source.wheels}) == len(source.wheels)


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.name)
def test_whole_files_come_before_pieces(model):
    kinds = [isinstance(source, WheelsSource) for source in model.sources]
    assert kinds == sorted(kinds)
    urls = [source.url for source in model.sources if isinstance(source, UrlSource)]
    assert all(url.startswith("https://") and url.endswith("/" + model.file) for url in urls)


def test_an_unknown_name_is_answered_with_the_nearest():
    with pytest.raises(UnknownModel, match=r"did you mean qwen2\.5-coder-0\.5b-instruct-q4_k_m\?"):
        find_model("qwen2.5-coder-0.5b-instruct")
    with pytest.raises(UnknownModel, match="known are"):
        find_model("zzz")
