"""Where model files lie: environment, stamps, names and paths."""

from pathlib import Path

import pytest

from dujiang.providers.embedded.cache import cache_dir, explain_missing, locate, placed, stamp_of, write_stamp


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({"DUJIANG_CACHE_DIR": "/srv/models", "XDG_CACHE_HOME": "/x"}, "/srv/models"),
        ({"XDG_CACHE_HOME": "/x"}, "/x/dujiang/models"),
        ({}, "~/.cache/dujiang/models"),
        ({"DUJIANG_CACHE_DIR": "~/m"}, "~/m"),
    ],
)
def test_cache_dir(environ, expected):
    assert cache_dir(environ) == Path(expected).expanduser()


def test_a_file_counts_only_with_its_stamp_and_size(tmp_path, tiny_model, content):
    model = tiny_model()
    path = tmp_path / model.file
    assert placed(model, tmp_path) is None
    path.write_bytes(content)
    assert placed(model, tmp_path) is None
    write_stamp(model, tmp_path)
    assert placed(model, tmp_path) == path
    stamp_of(path).write_text("0" * 64 + f"  {model.file}\n")
    assert placed(model, tmp_path) is None
    write_stamp(model, tmp_path)
    path.write_bytes(content[:-1])
    assert placed(model, tmp_path) is None


def test_locate_takes_any_file_by_its_path(tmp_path):
    own = tmp_path / "own.gguf"
    assert locate(str(own), tmp_path) is None
    own.touch()
    assert locate(str(own), tmp_path) == own


@pytest.mark.parametrize("name", ["default", "no-such-model", "own.gguf", ""])
def test_locate_finds_nothing_in_an_empty_cache(tmp_path, name):
    assert locate(name, tmp_path) is None


@pytest.mark.parametrize(
    ("name", "advice"),
    [
        ("default", "run `dujiang models pull qwen2.5-coder-0.5b-instruct-q4_k_m`"),
        ("defualt", "did you mean default?"),
        ("/srv/own.gguf", "/srv/own.gguf does not exist"),
    ],
)
def test_what_is_missing_is_explained(name, advice):
    assert advice in explain_missing(name)
