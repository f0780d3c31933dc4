"""Allow-lists of models, and what two lists allow together."""

from collections.abc import Iterable
from functools import reduce

from dujiang.core.names import Names, compile_names

DEFAULT_ROUTE = "auto:default"
"""What the model name `auto` means."""


def compile_models(patterns: Iterable[str]) -> Names:
    """Like `compile_names`, for models: `auto` and `auto:default` are one name, so allowing either allows both."""
    names = compile_names(patterns)
    if "auto" in names or DEFAULT_ROUTE in names:
        return union((names, Names(exact=frozenset({"auto", DEFAULT_ROUTE}))))
    return names


def union(lists: Iterable[Names]) -> Names:
    """What any of the lists allows; nothing when there is none."""
    return reduce(_either, lists, Names())


def intersection(lists: Iterable[Names]) -> Names:
    """What all of the lists allow, as one list; everything when there is none."""
    return reduce(_both, lists, Names(is_all=True))


def covers(wide: Names, narrow: Names) -> bool:
    """Whether everything that `narrow` lets through is let through by `wide`."""
    if wide.is_all or not (narrow.is_all or narrow.exact or narrow.prefixes):
        return True
    if narrow.is_all:
        return False
    return all(name in wide for name in narrow.exact) and all(
        any(prefix.startswith(each) for each in wide.prefixes) for prefix in narrow.prefixes
    )


def _either(one: Names, other: Names) -> Names:
    return Names(
        is_all=one.is_all or other.is_all,
        exact=one.exact | other.exact,
        prefixes=tuple(sorted({*one.prefixes, *other.prefixes})),
    )


def _both(one: Names, other: Names) -> Names:
    """Two prefixes have names in common only where one begins with the other: those of the longer."""
    if one.is_all:
        return other
    if other.is_all:
        return one
    longer = {max(a, b, key=len) for a in one.prefixes for b in other.prefixes if a.startswith(b) or b.startswith(a)}
    return Names(
        exact=frozenset(name for name in one.exact | other.exact if name in one and name in other),
        prefixes=tuple(sorted(longer)),
    )
