import json

import pytest

from dujiang.config.problems import InvalidDocument, Problems
from dujiang.config.strict_yaml import read_yaml
from dujiang.config.tree import MAX_BYTES, read_tree


def yaml_problems(text: str) -> str:
    problems = Problems()
    read_yaml(text, problems)
    with pytest.raises(InvalidDocument) as refused:
        problems.refuse_if_any()
    return "; ".join(map(str, refused.value.problems))


def text_problems(text: bytes) -> str:
    with pytest.raises(InvalidDocument) as refused:
        read_tree(text, "auto")
    return "; ".join(map(str, refused.value.problems))


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("on", "on"),
        ("off", "off"),
        ("yes", "yes"),
        ("no", "no"),
        ("y", "y"),
        ("true", True),
        ("false", False),
        ("'true'", "true"),
        ("null", None),
        ("~", None),
        ("", None),
        ("0613", "0613"),
        ("E0", "E0"),
        ("-e5", "-e5"),
        ("613", 613),
        ("-3", -3),
        ("0x1F", "0x1F"),
        ("1_000", "1_000"),
        ("12:30", "12:30"),
        ("2025-01-16", "2025-01-16"),
        ("2025-01-16T09:00:00", "2025-01-16T09:00:00"),
        ("0.60", 0.6),
        (".5", 0.5),
        ("1e3", 1000.0),
        ("1.", "1."),
        (".", "."),
        ("-", [None]),
        (".inf", ".inf"),
        (".nan", ".nan"),
        ("=", "="),
        ("'613'", "613"),
        ('"a\\tb"', "a\tb"),
        ("文心", "文心"),
        ("123456789012345678901234567890", "123456789012345678901234567890"),
    ],
)
def test_scalars_mean_what_they_look_like(text, value):
    problems = Problems()
    separator = "\n" if text == "-" else " "
    assert read_yaml(f"k:{separator}{text}", problems) == {"k": value}
    problems.refuse_if_any()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\na: 2", "a: is there twice (line 2)"),
        ("x: {y: [{a: 1, a: 2}]}", "x.y[0].a: is there twice"),
        ("a: &x 1", "a: anchors are not allowed"),
        ("a: &x [1]\nb: *x", "b: aliases are not allowed: write it out (line 2)"),
        ("a: !!python/object/apply:os.system [id]", "is not allowed"),
        ("a: !!binary aGk=", "is not allowed"),
        ("a: !x 1", "a: the tag `!x` is not allowed"),
        ("1: x", "a key must be text: put it in quotes (line 1)"),
        ("true: x", "a key must be text"),
        ("? [a]\n: b", "a key must be text: not a mapping or list"),
        ("a: {null: 1}", "a: a key must be text"),
        ("a: 1\n---\nb: 2", "holds a second document"),
        ("a: b: c", "is not YAML"),
        ("\tx: 1", "is not YAML"),
        ("[" * 100, "nested more than 64 levels"),
        ("a: " + "{b: " * 100, "nested more than 64 levels"),
        ("[" * 1_000_000, "nest"),
    ],
)
def test_refuses_the_traps_of_yaml(text, message):
    assert message in yaml_problems(text)


def test_a_merge_key_is_a_key_like_any_other():
    assert read_yaml("a: {'<<': 1}\nb: {<<: {c: 1}}", Problems()) == {"a": {"<<": 1}, "b": {"<<": {"c": 1}}}


@pytest.mark.parametrize("text", [b"", b"\n", b"# nothing\n", b"\xef\xbb\xbf", b"{}", b"---\n"])
def test_an_empty_text_is_an_empty_document(text):
    assert read_tree(text, "auto") == {}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"a: \xff", "is not UTF-8: invalid start byte at byte 3"),
        (b"x" * (MAX_BYTES + 1), "is larger than 16 MiB"),
        (b'{"a": 1, "a": 2}', "a: is there twice"),
        (b'{"x": [{"a": 1, "a": 2}]}', "x[0].a: is there twice"),
        (b'{"a": NaN}', "is not JSON"),
        (b'{"a": 1,}', "is not JSON"),
        (b'{"a": "\\ud800"}', "a: holds half of a surrogate pair"),
        (b'{"a": "\\u0000"}', "a: holds a NUL character"),
        (b'{"a": ' + b"[" * 100_000, "nested more than 64 levels"),
        (b'{"a": ' + b"[" * 100 + b"]" * 100 + b"}", "nested more than 64 levels"),
        (b'{"a": 1' + b"0" * 10_000 + b"}", "too long"),
        (b"[1]", "must be a mapping"),
        (b"just text", "must be a mapping"),
    ],
)
def test_refuses_texts_that_are_no_document(text, message):
    assert message in text_problems(text)


def test_json_and_yaml_of_the_same_tree_are_the_same():
    tree = {"a": {"b": [1, 2.5, True, None, "文", "on"]}, "c": {}}
    assert read_tree(json.dumps(tree).encode(), "json") == tree
    assert read_tree(json.dumps(tree).encode(), "yaml") == tree
    assert read_tree(json.dumps(tree).encode(), "auto") == tree
