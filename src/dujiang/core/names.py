"""Allow-lists of names, compiled once from the patterns of the document."""

from collections.abc import Iterable

from msgspec import Struct


class Names(Struct, frozen=True):
    """A compiled allow-list of names: `*`, `prefix*` and exact names."""

    is_all: bool = False
    exact: frozenset[str] = frozenset()
    prefixes: tuple[str, ...] = ()

    def __contains__(self, name: str) -> bool:
        return self.is_all or name in self.exact or (bool(self.prefixes) and name.startswith(self.prefixes))


def compile_names(patterns: Iterable[str]) -> Names:
    """Patterns are `*`, `prefix*` and exact names. Raises `ValueError` for an empty one or a `*` in another place."""
    exact: set[str] = set()
    prefixes: set[str] = set()
    is_all = False
    for pattern in patterns:
        stem = pattern.removesuffix("*")
        if not pattern or "*" in stem:
            raise ValueError(f"`{pattern}` is no pattern of names: write a name, `prefix*` or `*`.")
        if not stem:
            is_all = True
        elif stem == pattern:
            exact.add(pattern)
        else:
            prefixes.add(stem)
    return Names(is_all=is_all, exact=frozenset(exact), prefixes=tuple(sorted(prefixes)))


def patterns_of(names: Names) -> list[str]:
    """Patterns that mean the same."""
    if names.is_all:
        return ["*"]
    return sorted([*names.exact, *(f"{prefix}*" for prefix in names.prefixes)])
