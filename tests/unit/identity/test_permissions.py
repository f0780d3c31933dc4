"""Patterns of permissions and of names."""

import pytest

from dujiang.core.names import compile_names
from dujiang.identity.names import compile_models, union
from dujiang.identity.permissions import PERMISSIONS, PLATFORM_ONLY, expand


def test_the_contract_s_permissions_are_all_there():
    areas = ("config", "keys", "apps", "roles", "users", "budgets", "scenes", "models", "cache")
    both = {f"{area}:{action}" for area in areas for action in ("read", "write")}
    records = {f"records:{action}" for action in ("read", "read_own", "content", "export")}
    rest = {"chat:call", "schedule:call", "feedback:write", "routing:read", "health:read", "metrics:read"}
    assert both | records | rest == PERMISSIONS
    assert PLATFORM_ONLY < PERMISSIONS


def test_patterns_stand_for_permissions():
    assert expand([]) == frozenset()
    assert expand(["*"]) == PERMISSIONS
    assert expand(["chat:call", "cache:*"]) == {"chat:call", "cache:read", "cache:write"}


@pytest.mark.parametrize(
    "pattern",
    ["", ":", "*:*", "chat", "chat:", "chat:*l", "chat:fly", "Chat:call", "chat:call ", "nothing:*", "*:call", "**"],
)
def test_a_pattern_that_stands_for_nothing_is_an_error(pattern):
    with pytest.raises(ValueError, match="no permission"):
        expand(["chat:call", pattern])


@pytest.mark.parametrize(
    ("patterns", "inside", "outside"),
    [
        ((), [], ["gpt-4", ""]),
        (("*",), ["gpt-4", "auto", "文心一言"], []),
        (("gpt-4",), ["gpt-4"], ["gpt-4o", "GPT-4", "gpt", ""]),
        (("gpt-*", "文心*"), ["gpt-4", "gpt-", "文心一言"], ["gpt", "xgpt-4"]),
    ],
)
def test_names(patterns, inside, outside):
    names = compile_names(patterns)
    assert all(name in names for name in inside)
    assert not any(name in names for name in outside)


@pytest.mark.parametrize("pattern", ["", "*a", "a*b", "a**", "**"])
def test_a_star_belongs_to_the_end(pattern):
    with pytest.raises(ValueError, match="pattern"):
        compile_names([pattern])


@pytest.mark.parametrize("pattern", ["auto", "auto:default", "auto:*", "auto*", "auto:d*", "*"])
def test_auto_and_its_full_name_are_one(pattern):
    names = compile_models([pattern])
    assert "auto" in names
    assert "auto:default" in names


def test_another_route_does_not_allow_auto():
    names = compile_models(["auto:chinese", "lab-7b"])
    assert "auto:chinese" in names
    assert "auto" not in names
    assert "auto:default" not in names


def test_the_union_of_nothing_allows_nothing():
    assert "x" not in union([])
    assert "x" in union([compile_names(["x"]), compile_names(["y*"])])
