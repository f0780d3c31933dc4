"""Which sums a day keeps: the finest, and coarser ones, so that a question over many days reads few rows of each."""

from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from typing import NamedTuple

from dujiang.records.sums import Sums

WHOLE_DAY = -1
"""The `hour` of the rows that sum up their day."""

HOURS = 24
FINEST = 0

CUBES: tuple[tuple[str, ...], ...] = (
    ("app", "model", "provider", "scene", "user_role", "status"),
    ("status",),
    ("user_role",),
    ("scene",),
    ("model", "provider"),
    ("app",),
    ("app", "status"),
    ("app", "user_role"),
    ("app", "scene"),
    ("app", "model", "provider"),
    ("app", "model", "provider", "status"),
)
"""What each cube tells apart, beside the currency and the hour; after the finest, those with fewer rows come first.

A cube is stored as its place here, which never changes.
"""

COARSER = range(1, len(CUBES))


class Key(NamedTuple):
    """Of a row of `tables.rollups`. What its cube does not tell apart is an empty text, as is what a call has not."""

    cube: int
    hour: int
    app: str
    model: str
    provider: str
    scene: str
    user_role: str
    status: str
    currency: str


def smallest_cube(columns: AbstractSet[str]) -> int:
    """The cube with the fewest rows that tells these columns apart."""
    return next((cube for cube in COARSER if columns <= set(CUBES[cube])), FINEST)


def coarser(finest: Mapping[Key, Sums]) -> dict[Key, Sums]:
    """What the rows of whole hours add to every other cube, to its hours and to its day, and to the finest's day."""
    found: dict[Key, Sums] = {}
    for key, sums in finest.items():
        for cube in COARSER:
            _add(found, _seen_by(cube, key), sums)
    for key, sums in [*finest.items(), *found.items()]:
        _add(found, key._replace(hour=WHOLE_DAY), sums)
    return found


def _seen_by(cube: int, key: Key) -> Key:
    parts = (part if is_kept else "" for part, is_kept in zip(key[2:-1], _KEPT[cube], strict=True))
    return Key._make((cube, key.hour, *parts, key.currency))


def _add(found: dict[Key, Sums], key: Key, sums: Sums) -> None:
    found.setdefault(key, Sums()).add(sums)


def _kept(columns: Iterable[str]) -> tuple[bool, ...]:
    return tuple(name in columns for name in CUBES[FINEST])


_KEPT = tuple(map(_kept, CUBES))
